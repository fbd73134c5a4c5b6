package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	var storePaths []string
	var missing, asJSON bool
	cmd := &cobra.Command{
		Use:   "objects IMAGE...",
		Short: "list the objects that images need",
		Long: `objects lists the objects of the store that the images refer to, each once and sorted, by their paths in
the store. With --missing it lists only those that none of the stores has.`,
		Example: `  composefs objects a.cfs b.cfs

  # What must be fetched to use the image.
  composefs objects --missing --store /srv/store a.cfs

  # What both images share.
  comm -12 <(composefs objects a.cfs) <(composefs objects b.cfs)`,
		Args: arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if missing != (len(storePaths) > 0) {
				return usagef("--missing and --store are of use together only")
			}
			found := map[string]objectJSON{}
			for _, name := range args {
				if err := collectObjects(cmd.Context(), name, found); err != nil {
					return err
				}
			}
			if missing {
				if err := dropPresent(cmd.Context(), storePaths, found); err != nil {
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
	storesFlag(cmd.Flags(), &storePaths)
	cmd.Flags().BoolVar(&missing, "missing", false, "only those that are not in the stores")
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

// collectObjects adds the objects of an image by their paths.
func collectObjects(ctx context.Context, name string, found map[string]objectJSON) error {
	img, err := openImageFile(name)
	if err != nil {
		return err
	}
	defer img.Close()
	root, err := orInterrupted(ctx, func() (*tree.Inode, error) {
		return img.Tree(erofs.TreeOptions{MetadataOnly: true})
	})
	if err != nil {
		return img.failed(err)
	}
	for _, e := range tree.Walk(root) {
		n := e.Inode
		if path := n.BackingPath(); n.IsExternal() && path != "" {
			found[path] = objectJSON{Path: path, PathBase64: inBase64(path), Digest: n.Digest, Size: n.Size}
		}
	}
	return nil
}

// dropPresent removes what a store has.
func dropPresent(ctx context.Context, storePaths []string, found map[string]objectJSON) error {
	s, err := openStores(storePaths)
	if err != nil {
		return err
	}
	defer s.close()
	for path := range found {
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, store := range s {
			_, err := store.Stat(strings.TrimLeft(path, "/"))
			if err == nil {
				delete(found, path)
				break
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("store %s: %w", store.Name(), err)
			}
		}
	}
	return nil
}
