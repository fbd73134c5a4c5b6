package main

import (
	"bufio"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// objectJSON is one object of `objects --json`.
type objectJSON struct {
	Path       string          `json:"path"`
	PathBase64 string          `json:"path_base64,omitempty"`
	Digest     fsverity.Digest `json:"digest,omitzero"`
	Size       uint64          `json:"size"`
}

func (a *app) objectsCommand() *cobra.Command {
	var missing, asJSON bool
	cmd := &cobra.Command{
		Use:   "objects IMAGE...",
		Short: "list the objects that images need",
		Long: `objects lists the objects of the store that the images refer to, each once and sorted, by their paths in
the store. With --missing it lists only those that none of the stores has, or the repository.`,
		Example: `  composefs objects a.cfs b.cfs

  # What must be fetched to use the image.
  composefs objects --missing --store /srv/store a.cfs

  # What both images share.
  comm -12 <(composefs objects a.cfs) <(composefs objects b.cfs)`,
		Args: arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !missing && cmd.Flags().Changed("store") {
				return usagef("--store is of use with --missing only")
			}
			found := map[string]objectJSON{}
			for _, name := range args {
				if err := a.collectObjects(cmd, name, missing, found); err != nil {
					return err
				}
			}
			return a.result(func(w *bufio.Writer) error {
				list := jsonList{w: w}
				for _, path := range slices.Sorted(maps.Keys(found)) {
					if !asJSON {
						fmt.Fprintln(w, printable(path))
					} else if err := list.add(found[path]); err != nil {
						return err
					}
				}
				if asJSON {
					return list.end()
				}
				return nil
			})
		},
	}
	storesFlag(cmd.Flags())
	imageFlags(a, cmd)
	cmd.Flags().BoolVar(&missing, "missing", false, "only those that are not in the stores")
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

// collectObjects adds the objects of an image by their paths, or only those that are missing.
func (a *app) collectObjects(cmd *cobra.Command, name string, missing bool, found map[string]objectJSON) error {
	img, err := a.openImage(cmd, name)
	if err != nil {
		return err
	}
	defer img.Close()
	if missing && img.objects == nil {
		return usagef("--missing from what? Give the store of %s with --store", name)
	}
	root, err := orInterrupted(cmd.Context(), func() (*tree.Inode, error) {
		return img.Tree(erofs.TreeOptions{MetadataOnly: true})
	})
	if err != nil {
		return img.failed(err)
	}
	for _, e := range tree.Walk(root) {
		n := e.Inode
		path := n.BackingPath()
		if !n.IsExternal() || path == "" || e.Link {
			continue
		}
		if missing {
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			if ok, err := img.objects.has(strings.TrimLeft(path, "/")); ok || err != nil {
				if err != nil {
					return err
				}
				continue
			}
		}
		found[path] = objectJSON{Path: path, PathBase64: inBase64(path), Digest: n.Digest, Size: n.Size}
	}
	return nil
}
