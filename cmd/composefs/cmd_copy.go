package main

import (
	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/oci/policy"
	"github.com/go-composefs/composefs/repository"
)

const copyLong = `copy brings a container image from another repository into this one, with the name NEW, or the one it has there.

Files share their blocks with those of the other repository where the filesystem can (reflink). The repositories
may have different algorithms and formats; everything is verified as pull does it.`

func (a *app) copyCommand() *cobra.Command {
	var c pullCommand
	var from string
	cmd := &cobra.Command{
		Use:     "copy NAME [NEW...]",
		Short:   "bring a container image from another repository",
		Long:    copyLong,
		Example: `  composefs copy --from /mnt/stick/repo app`,
		Args:    arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if from == "" {
				return usagef("--from is missing: the directory of the other repository")
			}
			if c.opts.Tags = args[1:]; len(c.opts.Tags) == 0 {
				c.opts.Tags = args[:1]
			}
			if err := c.check(); err != nil {
				return err
			}
			other, err := repository.Open(from, repository.Options{ReadOnly: true})
			if err != nil {
				return err
			}
			defer other.Close()
			img, err := oci.Open(cmd.Context(), other, args[0])
			if err != nil {
				return unknownContainer(other, args[0], err)
			}
			r, err := a.openRepository(cmd, repository.Options{})
			if err != nil {
				return err
			}
			defer r.Close()
			policies, err := policy.Load(policy.DefaultOptions(c.policy))
			if err != nil {
				return err
			}
			c.opts.Name = firstOf(img.Sources())
			c.opts.Rules = rulesFor(policies, args[0], img)[0]
			return a.pullFrom(cmd.Context(), r, &c, oci.NewSource(other, args[0]))
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "`DIR` of the other repository")
	_ = cobra.MarkFlagDirname(cmd.Flags(), "from") // just defined
	policyFlag(cmd, &c.policy)
	progressFlag(cmd, &c.transport.progress)
	c.flags(cmd)
	return cmd
}

func firstOf(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
