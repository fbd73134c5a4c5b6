package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/mount"
)

func (a *app) umountCommand() *cobra.Command {
	var opts mount.UnmountOptions
	cmd := &cobra.Command{
		Use:     "umount MOUNTPOINT...",
		Aliases: []string{"unmount"},
		Short:   "take mounts down",
		Long: `umount takes down composefs mounts with all that was set up for them. What is no composefs mount is
left alone, and is an error.`,
		Example: `  composefs umount /mnt
  composefs umount --lazy /mnt`,
		Args: arguments(1, -1),
		RunE: func(_ *cobra.Command, args []string) error {
			var errs []error
			for _, target := range args {
				errs = append(errs, mount.Unmount(target, opts))
			}
			return errors.Join(errs...)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			infos, err := mount.List()
			if err != nil {
				return nil, cobra.ShellCompDirectiveDefault
			}
			var targets []cobra.Completion
			for _, info := range infos {
				targets = append(targets, info.Target)
			}
			return targets, cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().BoolVarP(&opts.Lazy, "lazy", "l", false, "take the mount out of sight even if it is in use, and down when it no longer is")
	return cmd
}
