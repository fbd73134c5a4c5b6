package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/repository"
)

func (a *app) untagCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "untag NAME...",
		Short: "take names away from container images",
		Long: `untag removes names of container images, and of no others; rm removes names of both. What has no name any more
stays until the next garbage collection.`,
		Example: `  composefs untag app:old && composefs gc`,
		Args:    arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.openRepository(cmd, repository.Options{})
			if err != nil {
				return err
			}
			defer r.Close()
			var errs []error
			for _, name := range args {
				errs = append(errs, unknownContainer(r, name, oci.Untag(cmd.Context(), r, name)))
			}
			return errors.Join(errs...)
		},
		ValidArgsFunction: a.completeContainers,
	}
}
