package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/repository"
)

const initLong = `init makes an empty repository, a directory in which any number of images share their objects. It does
nothing if one of the same kind is there.

Objects in it must have fs-verity, by which the kernel checks every byte that is read. With --insecure
they need not: they get it where the filesystem can, and are otherwise verified by reading them, with
fsck, and by no one else.

With --upgrade it gives a repository older than the file meta.json that file, by which programs know
what it holds. Nothing else of it changes, and its images stay of format v2.`

func (a *app) initCommand() *cobra.Command {
	opts := repository.CreateOptions{Format: erofs.FormatV1}
	hash := fsverity.HashSHA256
	var upgrade bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "make a repository",
		Long:  initLong,
		Example: `  composefs init --repo /var/lib/composefs

  # On a filesystem without fs-verity.
  composefs init --repo /srv/images --insecure`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := repositoryPath(cmd)
			if upgrade {
				for _, name := range []string{"format", "hash", "insecure"} {
					if cmd.Flags().Changed(name) {
						return usagef("--%s is for new repositories: --upgrade leaves one as it is", name)
					}
				}
				return a.upgradeRepository(path)
			}
			opts.Algorithm = fsverity.Algorithm{Hash: hash, BlockBits: fsverity.SHA256.BlockBits}
			created, err := repository.Create(path, opts)
			switch {
			case errors.Is(err, fsverity.ErrNoVerity):
				return advisedError{err, "--insecure makes a repository that does without; `composefs doctor DIR` tells what a filesystem can do"}
			case errors.Is(err, fs.ErrExist):
				return advisedError{err, "options that describe the one that is there, or another directory with --repo"}
			case err != nil:
				return err
			case created:
				a.remark("repository %s: made", path)
			default:
				a.remark("repository %s: there is one already", path)
			}
			return nil
		},
	}
	hashFlag(cmd, &hash)
	textFlag(cmd, &opts.Format, "format", "format of images: v0 or v1 of the C tools, or v2 of older composefs-rs", "v0", "v1", "v2")
	cmd.Flags().BoolVar(&opts.Insecure, "insecure", false, "objects need not have fs-verity")
	cmd.Flags().BoolVar(&upgrade, "upgrade", false, "give a repository without meta.json that file")
	return cmd
}

func (a *app) upgradeRepository(path string) error {
	upgraded, err := repository.Upgrade(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w at %s", errNoRepository, path)
	}
	if err != nil {
		return err
	}
	what := "it is up to date"
	if upgraded {
		what = "upgraded"
	}
	a.remark("repository %s: %s", path, what)
	return nil
}
