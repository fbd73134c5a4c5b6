package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/repository"
)

func (a *app) rmCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rm NAME...",
		Short: "take names away from images",
		Long: `rm removes names of images from a repository. An image without any name stays until the next garbage
collection ("composefs gc"), and as long as it is mounted; until then it can be had back by its digest
("composefs tag DIGEST NAME"). If one of the names is not there none is removed.`,
		Example: `  composefs rm debian:11 debian:10 && composefs gc`,
		Args:    arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range args {
				if _, err := fsverity.ParseDigest(name); err == nil {
					return usagef("%s is a digest: rm removes names, and gc images without names", name)
				}
				if err := checkName(name); err != nil {
					return err
				}
			}
			r, err := a.openRepository(cmd, repository.Options{})
			if err != nil {
				return err
			}
			defer r.Close()
			var errs []error
			isContainer := map[string]bool{}
			for _, name := range args {
				if _, err := r.ResolveImage(name); errors.Is(err, repository.ErrNotFound) || errors.Is(err, repository.ErrName) {
					if _, errOCI := openContainer(cmd.Context(), r, name); !errors.Is(errOCI, errNoContainer) && !errors.Is(errOCI, oci.ErrName) {
						isContainer[name] = true // also one that is of no use
						continue
					}
					errs = append(errs, unknownImage(r, name, err))
				}
			}
			if err := errors.Join(errs...); err != nil {
				return err
			}
			for _, name := range args {
				if isContainer[name] {
					errs = append(errs, unknownContainer(r, name, oci.Untag(cmd.Context(), r, name)))
					continue
				}
				errs = append(errs, unknownImage(r, name, r.UntagImage(cmd.Context(), name)))
			}
			return errors.Join(errs...)
		},
		ValidArgsFunction: a.completeImages,
	}
}
