package main

import (
	"bufio"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/internal/bytesize"
	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/oci/transport"
	"github.com/go-composefs/composefs/repository"
)

const deltaLong = `delta writes to DESTINATION, a registry, layout or archive as push knows them, what makes the container image NEW of
the image OLD: for each layer that OLD does not have the difference to its files. It is an artifact in the form
of oci-delta, about the image NEW.

"composefs pull" takes it as any other source, in a repository that has OLD, and then has NEW, with the digests
that it has everywhere: layers that were made by a delta are verified as those that were fetched.`

// deltaJSON is the output of `delta --json`.
type deltaJSON struct {
	Destination string `json:"destination"`
	Manifest    string `json:"manifest"`
	Layers      int    `json:"layers"`
	Whole       int    `json:"whole"`
	Reused      int    `json:"reused"`
	Bytes       int64  `json:"bytes"`
	Original    int64  `json:"original_bytes"`
}

func (a *app) deltaCommand() *cobra.Command {
	var t transportFlags
	var opts oci.DeltaOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "delta OLD NEW DESTINATION",
		Short: "write what makes one container image of another",
		Long:  deltaLong,
		Example: `  composefs delta app:1 app:2 oci-archive:app-1-2.tar
  composefs pull oci-archive:app-1-2.tar app:2      # where app:1 is`,
		Args: arguments(3, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := transport.Parse(args[2])
			if err != nil {
				return usageError{err}
			}
			if opts.Level < 0 || opts.Level > 22 {
				return usagef("--level %d: want 1 to 22", opts.Level)
			}
			options, err := t.options(a)
			if err != nil {
				return err
			}
			r, err := a.openRepository(cmd, repository.Options{ReadOnly: true})
			if err != nil {
				return err
			}
			defer r.Close()
			for _, name := range args[:2] {
				if _, err := openContainer(cmd.Context(), r, name); err != nil {
					return err
				}
			}
			to, err := transport.OpenDestination(cmd.Context(), ref, options)
			if err != nil {
				return err
			}
			defer to.Close()
			shown := a.startBars(t.progress)
			opts.Progress = shown
			made, err := oci.MakeDelta(cmd.Context(), r, args[0], args[1], to, opts)
			shown.Done()
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(deltaJSON{
					ref.String(), made.Manifest.Digest.String(), made.Layers, made.Whole, made.Reused, made.Bytes, made.Original,
				})
			}
			a.remark("%s in %s, which are %s in the image; %d are in both", counted(made.Layers, "layer"), bytesize.String(made.Bytes),
				bytesize.String(made.Original), made.Reused)
			return a.result(func(w *bufio.Writer) error {
				_, err := fmt.Fprintln(w, made.Manifest.Digest)
				return err
			})
		},
		ValidArgsFunction: a.completeContainers,
	}
	t.flags(cmd)
	cmd.Flags().IntVar(&opts.Level, "level", 0, "how hard zstd tries, 1 to 22 (default 19)")
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}
