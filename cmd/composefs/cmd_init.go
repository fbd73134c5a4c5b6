package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/repository"
)

func (a *app) initCommand() *cobra.Command {
	opts := repository.CreateOptions{Format: erofs.FormatV1}
	hash := fsverity.HashSHA256
	cmd := &cobra.Command{
		Use:   "init",
		Short: "make a repository",
		Long: `init makes an empty repository, a directory in which any number of images share their objects. It does
nothing if one of the same kind is there.

Objects in it must have fs-verity, by which the kernel checks every byte that is read. With --insecure
they need not: then they are verified by reading them, with fsck, and by no one else.`,
		Example: `  composefs init --repo /var/lib/composefs

  # On a filesystem without fs-verity.
  composefs init --repo /srv/images --insecure`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.Algorithm = fsverity.Algorithm{Hash: hash, BlockBits: fsverity.SHA256.BlockBits}
			path := repositoryPath(cmd)
			created, err := repository.Create(path, opts)
			if err == nil && !a.quiet {
				what := "there is one already"
				if created {
					what = "made"
				}
				_, err = fmt.Fprintf(a.err, "repository %s: %s\n", path, what)
			}
			return err
		},
	}
	hashFlag(cmd, &hash)
	textFlag(cmd, &opts.Format, "format", "format of images: v0 or v1 of the C tools, or v2 of older composefs-rs", "v0", "v1", "v2")
	cmd.Flags().BoolVar(&opts.Insecure, "insecure", false, "objects need not have fs-verity")
	return cmd
}
