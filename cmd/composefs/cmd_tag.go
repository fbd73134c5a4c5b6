package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/repository"
)

func (a *app) tagCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "tag IMAGE NAME",
		Short: "give an image a name",
		Long: `tag gives an image of the repository one more name. IMAGE is a name, or a digest or its beginning. An
image that had the name before loses it.

The new name of a container image is one as well, of the same layers.

A name is any text; slashes divide it: "debian:12", "quay.io/org/app:v1".`,
		Example: `  composefs tag debian:12 stable
  composefs tag 5ad8f0c1 rescue`,
		Args: arguments(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkName(args[1]); err != nil {
				return err
			}
			r, err := a.openRepository(cmd, repository.Options{})
			if err != nil {
				return err
			}
			defer r.Close()
			if _, err := r.ResolveImage(args[0]); errors.Is(err, repository.ErrNotFound) || errors.Is(err, repository.ErrName) {
				if img, err := openContainer(cmd.Context(), r, args[0]); err == nil {
					if err := checkTags(r, args[1:]); err != nil {
						return err
					}
					return oci.Tag(cmd.Context(), r, "@"+img.Digest.String(), args[1])
				}
			}
			image, err := imageName(cmd.Context(), r, args[0])
			if err != nil {
				return err
			}
			if err := repository.CheckRef(args[1]); err != nil {
				return usageError{err}
			}
			if err := checkNames(cmd.Context(), r, args[1:]); err != nil {
				return err
			}
			return r.TagImage(cmd.Context(), args[1], image)
		},
		ValidArgsFunction: a.completeImages,
	}
}
