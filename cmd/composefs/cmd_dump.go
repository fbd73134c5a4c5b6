package main

import (
	"bufio"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/dumpfile"
	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/tree"
)

func (a *app) dumpCommand() *cobra.Command {
	var filters []string
	cmd := &cobra.Command{
		Use:   "dump IMAGE",
		Short: "print an image as text",
		Long: `dump prints an image in the composefs-dump(5) form, a line for each name. The same tree comes of it:
"composefs build --from-file" makes the same image again from the text.`,
		Example: `  composefs dump doc.cfs
  composefs dump --filter bash --filter coreutils doc.cfs
  composefs dump a.cfs | composefs build --from-file - b.cfs`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			img, err := a.openImage(cmd, args[0])
			if err != nil {
				return err
			}
			defer img.Close()
			opts := erofs.TreeOptions{Only: filters, XattrOrder: map[*tree.Inode][]tree.Xattr{}}
			root, err := orInterrupted(cmd.Context(), func() (*tree.Inode, error) { return img.Tree(opts) })
			if err != nil {
				return img.failed(err)
			}
			return a.result(func(w *bufio.Writer) error {
				return dumpfile.Write(w, root, dumpfile.WriteOptions{XattrOrder: opts.XattrOrder})
			})
		},
	}
	cmd.Flags().StringArrayVar(&filters, "filter", nil, "only this `NAME` of the image's root and what is below; may be given several times")
	imageFlags(a, cmd)
	return cmd
}
