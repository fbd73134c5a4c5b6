package main

import (
	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/repository"
)

func (a *app) tagCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "tag IMAGE NAME",
		Short: "give an image a name",
		Long: `tag gives an image of the repository one more name. IMAGE is a name, or a digest or its beginning. An
image that had the name before loses it.

A name is any text; slashes divide it: "debian:12", "quay.io/org/app:v1".`,
		Example: `  composefs tag debian:12 stable
  composefs tag 5ad8f0c1 rescue`,
		Args: arguments(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := repository.CheckRef(args[1]); err != nil {
				return usageError{err}
			}
			r, err := a.openRepository(cmd, repository.Options{})
			if err != nil {
				return err
			}
			defer r.Close()
			image, err := imageName(r, args[0])
			if err != nil {
				return err
			}
			if err := checkNames(r, args[1:]); err != nil {
				return err
			}
			return r.TagImage(cmd.Context(), args[1], image)
		},
		ValidArgsFunction: a.completeImages,
	}
}
