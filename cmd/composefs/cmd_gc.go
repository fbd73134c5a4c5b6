package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/internal/bytesize"
	"github.com/go-composefs/composefs/repository"
)

const gcLong = `gc removes from a repository what nothing keeps: images without a name and their objects, unless
something else needs them, leases that are over, and what killed processes have left. It keeps what a
running import has stored or found, images that are open or mounted, also those that were mounted from
elsewhere with this repository as their store, what leases list ("composefs leases"), and --root.

Everybody may go on using the repository meanwhile. Only programs of composefs-rs must not have it
open: --wait says how long to wait for them.

If an image that is needed cannot be read nothing is removed. A mount whose image file has been
replaced or removed since cannot be read either, and is named; --force passes over it.`

const gcExample = `  composefs gc --dry-run
  composefs rm debian:11 && composefs gc --wait 1m`

// gcCommand is one command line of gc.
type gcCommand struct {
	opts    repository.CollectOptions
	verbose bool
	force   bool
	json    bool
}

// gcJSON is the output of `gc --json`.
type gcJSON struct {
	Garbage []repository.Garbage `json:"garbage"`
	gcSums
}

type gcSums struct {
	DryRun bool `json:"dry_run"`
	repository.Collected
}

func (a *app) gcCommand() *cobra.Command {
	var g gcCommand
	cmd := &cobra.Command{
		Use:     "gc",
		Short:   "remove what no image needs",
		Long:    gcLong,
		Example: gcExample,
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := a.openRepository(cmd, repository.Options{})
			if err != nil {
				return err
			}
			defer r.Close()
			for i, name := range g.opts.Roots {
				if g.opts.Roots[i], err = imageName(cmd.Context(), r, name); err != nil {
					return err
				}
			}
			return a.collect(cmd.Context(), r, &g)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&g.opts.DryRun, "dry-run", "n", false, "print what would be removed, and remove nothing")
	flags.StringArrayVar(&g.opts.Roots, "root", nil, "keep also this `IMAGE`, a name or digest; may be given several times")
	_ = cmd.RegisterFlagCompletionFunc("root", a.completeImages) // just defined
	flags.DurationVar(&g.opts.Wait, "wait", 0, "wait this `DURATION`, such as 90s or 5m, for programs of composefs-rs to close the repository")
	flags.BoolVar(&g.force, "force", false, "pass over mounts whose image cannot be read")
	flags.BoolVarP(&g.verbose, "verbose", "v", false, "print what is removed")
	jsonFlag(flags, &g.json)
	return cmd
}

func (a *app) collect(ctx context.Context, r *repository.Repository, g *gcCommand) error {
	var err error
	if g.opts.Keep, err = a.mountedFrom(ctx, r, g.force); err != nil {
		return err
	}
	var done repository.Collected
	err = a.result(func(w *bufio.Writer) error {
		p := garbagePrinter{w: w, json: g.json, list: jsonList{w: w}}
		if g.json || g.verbose || g.opts.DryRun {
			g.opts.Removed = p.print
		}
		var err error
		if done, err = r.Collect(ctx, g.opts); err == nil {
			err = p.end(g.opts.DryRun, done)
		}
		return err
	})
	switch {
	case errors.Is(err, repository.ErrInUse):
		return advisedError{err, "end the other program, or let gc wait for it: --wait 5m"}
	case err == nil && !g.json:
		a.remark("%s", collectedText(g.opts.DryRun, done))
	}
	return err
}

// garbagePrinter prints things as they are removed. In JSON they are the first key of the object,
// so that they need not be held in memory.
type garbagePrinter struct {
	w    *bufio.Writer
	json bool
	list jsonList
	err  error
}

func (p *garbagePrinter) print(g repository.Garbage) {
	switch {
	case p.err != nil:
	case !p.json:
		text := fmt.Sprintf("%s %s", g.Kind, printable(g.Name))
		if g.Kind == repository.GarbageObject {
			text += ", " + bytesize.String(g.Size)
		}
		_, p.err = fmt.Fprintln(p.w, text)
	default:
		p.begin()
		if p.err == nil {
			p.err = p.list.add(g)
		}
	}
}

func (p *garbagePrinter) begin() {
	if p.list.count == 0 {
		_, p.err = p.w.WriteString(`{"garbage": `)
	}
}

// end ends the object with the sums.
func (p *garbagePrinter) end(dryRun bool, done repository.Collected) error {
	if !p.json || p.err != nil {
		return p.err
	}
	p.begin()
	sums, err := json.Marshal(gcSums{DryRun: dryRun, Collected: done})
	if err := errors.Join(p.err, p.list.end(), err); err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.w, ", %s\n", bytes.TrimPrefix(sums, []byte("{")))
	return err
}

// collectedText says in a line what was removed, or would be.
func collectedText(dryRun bool, done repository.Collected) string {
	verb := "removed"
	if dryRun {
		verb = "would remove"
	}
	text := fmt.Sprintf("%s %s, %s; %s, %s, %s, %s; %d stay", verb, counted(done.Objects, "object"), bytesize.String(done.Bytes),
		counted(done.Images, "image"), counted(done.Streams, "stream"), counted(done.Leases, "lease"),
		counted(done.Temporaries, "temporary file"), done.Kept)
	if len(done.InUse) > 0 {
		text += fmt.Sprintf("; %s without a name in use", counted(len(done.InUse), "image"))
	}
	return text
}
