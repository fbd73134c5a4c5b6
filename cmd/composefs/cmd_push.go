package main

import (
	"bufio"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/internal/bytesize"
	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/oci/transport"
	"github.com/go-composefs/composefs/repository"
)

const pushLong = `push gives a container image of the repository to DESTINATION, which is written as pull's SOURCE is: an image
of a registry, or oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME].

Layers go as they came, bit for bit, where the way they were compressed can be repeated; the tars in them are
always the original ones. A layer of which that is not known is compressed anew, on all processors: then the
image has another digest there, and push says so. --compression chooses another one for all layers.

What the destination has already is not sent. The image's signatures go with it.`

const pushExample = `  composefs push app registry.example.com/org/app:v1
  composefs push app --compression zstd:chunked registry.example.com/org/app:chunked
  composefs push app oci-archive:app.tar`

// pushCommand is one command line of push, or of export to a layout or archive.
type pushCommand struct {
	transport transportFlags
	opts      oci.PushOptions
	json      bool
}

// pushedJSON is the output of `push --json`.
type pushedJSON struct {
	Destination  string          `json:"destination"`
	Manifest     string          `json:"manifest"`
	Original     bool            `json:"original"`
	Recompressed []string        `json:"recompressed"`
	Layers       pushedCountJSON `json:"layers"`
	Bytes        int64           `json:"bytes"`
	Referrers    pushedRefsJSON  `json:"referrers"`
}

type pushedRefsJSON struct {
	Sent int `json:"sent"`
	Left int `json:"left"`
}

type pushedCountJSON struct {
	Sent    int `json:"sent"`
	Present int `json:"present"`
}

func (a *app) pushCommand() *cobra.Command {
	var c pushCommand
	cmd := &cobra.Command{
		Use:     "push NAME DESTINATION",
		Short:   "give a container image to a registry",
		Long:    pushLong,
		Example: pushExample,
		Args:    arguments(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := transport.Parse(args[1])
			if err != nil {
				return usageError{err}
			}
			return a.runPush(cmd, &c, args[0], ref)
		},
		ValidArgsFunction: a.completeContainers,
	}
	c.transport.flags(cmd)
	c.flags(cmd)
	cmd.Flags().StringArrayVar(&c.opts.MountFrom, "mount-from", nil, "another `REPOSITORY` of the registry that may have layers already")
	jsonFlag(cmd.Flags(), &c.json)
	return cmd
}

// flags are those that export has as well.
func (c *pushCommand) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	c.opts.Compression = oci.CompressionOriginal
	flags.Var(&c.opts.Compression, "compression", "of layers: original, none, gzip, zstd or zstd:chunked")
	_ = cmd.RegisterFlagCompletionFunc("compression", cobra.FixedCompletions([]string{"original", "none", "gzip", "zstd", "zstd:chunked"}, cobra.ShellCompDirectiveNoFileComp))
	flags.IntVar(&c.opts.Level, "level", 0, "of what is compressed anew (default: the compressor's own)")
	flags.BoolVar(&c.opts.AllPlatforms, "all-platforms", false, "give all images of the index that the name was pulled from")
}

func (a *app) runPush(cmd *cobra.Command, c *pushCommand, name string, ref transport.Reference) error {
	opts, err := c.transport.options(a)
	if err != nil {
		return err
	}
	r, err := a.openRepository(cmd, repository.Options{})
	if err != nil {
		return err
	}
	defer r.Close()
	to, err := transport.OpenDestination(cmd.Context(), ref, opts)
	if err != nil {
		return err
	}
	defer to.Close()
	return a.pushTo(cmd.Context(), r, c, name, to, ref.String())
}

func (a *app) pushTo(ctx context.Context, r *repository.Repository, c *pushCommand, name string, to transport.Destination, ref string) error {
	shown := a.startBars(c.transport.progress)
	c.opts.Progress = shown
	pushed, err := oci.Push(ctx, r, name, to, c.opts)
	shown.Done()
	if err != nil {
		return unknownContainer(r, name, err)
	}
	if c.json {
		j := pushedJSON{
			Destination: ref, Manifest: pushed.Manifest.Digest.String(), Original: pushed.Original, Recompressed: []string{},
			Layers: pushedCountJSON{pushed.Layers, pushed.LayersPresent}, Bytes: pushed.Bytes,
			Referrers: pushedRefsJSON{pushed.Referrers, pushed.ReferrersLeft},
		}
		for _, d := range pushed.Recompressed {
			j.Recompressed = append(j.Recompressed, d.String())
		}
		return a.printJSON(j)
	}
	a.remark("%s: %s sent (%s), %d there already", ref, counted(pushed.Layers, "layer"), bytesize.String(pushed.Bytes), pushed.LayersPresent)
	if !pushed.Original {
		a.remark("note: it is another image than the one here, for %s compressed anew", counted(len(pushed.Recompressed), "layer"))
	}
	if n := pushed.ReferrersLeft; n > 0 {
		a.remark("note: %s, such as seals and signatures, did not go with it", counted(n, "artifact"))
	}
	return a.result(func(w *bufio.Writer) error {
		_, err := fmt.Fprintln(w, pushed.Manifest.Digest)
		return err
	})
}
