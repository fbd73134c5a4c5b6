package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/internal/bytesize"
	"github.com/go-composefs/composefs/repository"
)

func (a *app) localizeCommand() *cobra.Command {
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "localize IMAGE...",
		Short: "copy objects of other stores into the repository",
		Long: `localize copies what images need and only other stores have ("composefs stores") into the repository
itself, where it may be faster, and stays when the others go. Each object is compared with its digest
while it is copied.`,
		Example: `  composefs localize debian:12
  composefs localize --all`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case all && len(args) > 0:
				return errors.New("--all and names of images contradict each other")
			case all:
				return nil
			}
			return arguments(1, -1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.openRepository(cmd, repository.Options{})
			if err != nil {
				return err
			}
			defer r.Close()
			names, err := imagesToLocalize(cmd.Context(), r, args, all)
			if err != nil {
				return err
			}
			done, err := r.Localize(cmd.Context(), names...)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(done)
			}
			a.remark("%s copied, %s", counted(done.Objects, "object"), bytesize.String(done.Bytes))
			return nil
		},
		ValidArgsFunction: a.completeImages,
	}
	cmd.Flags().BoolVar(&all, "all", false, "all images of the repository")
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

func imagesToLocalize(ctx context.Context, r *repository.Repository, words []string, all bool) ([]string, error) {
	if !all {
		names := make([]string, len(words))
		for i, word := range words {
			var err error
			if names[i], err = imageName(ctx, r, word); err != nil {
				return nil, err
			}
		}
		return names, nil
	}
	images, err := r.Images()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, img := range images {
		if img.Err != nil {
			return nil, img.Err
		}
		names = append(names, img.Digest.String())
	}
	return names, nil
}
