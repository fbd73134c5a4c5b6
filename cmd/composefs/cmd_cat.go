package main

import (
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/erofs"
)

func (a *app) catCommand() *cobra.Command {
	var noVerify bool
	cmd := &cobra.Command{
		Use:   "cat IMAGE PATH...",
		Short: "print files of an image",
		Long: `cat writes the contents of files to standard output. Files that are not in the image itself are
read from the stores or the repository, and compared with the digest in the image before the first byte is printed.`,
		Example: `  composefs cat --store /srv/store doc.cfs /bash/copyright
  composefs cat debian:12 /etc/os-release`,
		Args: arguments(2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			img, err := a.openImage(cmd, args[0])
			if err != nil {
				return err
			}
			defer img.Close()
			opts := erofs.FSOptions{Verify: !noVerify}
			if img.objects != nil {
				opts.Objects = img.objects
			}
			fsys := img.FS(opts)
			for _, path := range args[1:] {
				if err := a.catFile(cmd, fsys, fsPath(path), opts.Objects != nil); err != nil {
					return img.failed(err)
				}
			}
			return nil
		},
	}
	storesFlag(cmd.Flags())
	imageFlags(a, cmd)
	cmd.Flags().BoolVar(&noVerify, "no-verify", false, "print contents without comparing them with their digests")
	return cmd
}

func (a *app) catFile(cmd *cobra.Command, fsys *erofs.FS, name string, hasStore bool) error {
	info, err := fsys.Stat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &fs.PathError{Op: "cat", Path: name, Err: fmt.Errorf("is a %s", typeName(node(info)))}
	}
	if !hasStore && node(info).BackingPath() != "" {
		return &fs.PathError{Op: "cat", Path: name, Err: errStoreNeeded}
	}
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(a.out, reader{cmd.Context(), f}); err != nil {
		return &fs.PathError{Op: "cat", Path: name, Err: err}
	}
	return nil
}
