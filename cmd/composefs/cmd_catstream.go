package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/repository"
)

func (a *app) catStreamCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cat-stream STREAM",
		Short: "print a stream of a repository",
		Long: `cat-stream writes a stream to standard output as it was put into the repository, bit for bit: a tar
layer, say. STREAM is its id, or one of its names behind "refs/". Its objects are not compared with their
digests unless the kernel does: who needs that compares the digest of what is printed.`,
		Example: `  composefs cat-stream refs/debian:12 | tar -t`,
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.openRepository(cmd, repository.Options{})
			if err != nil {
				return err
			}
			defer r.Close()
			s, err := r.OpenStream(args[0])
			if err != nil {
				_, errResolve := r.ResolveStream(args[0])
				if errors.Is(errResolve, repository.ErrNotFound) {
					return advisedError{
						fmt.Errorf("%s: no such stream in repository %s", args[0], r.Path()),
						"`composefs streams` lists them; a name has \"refs/\" before it",
					}
				}
				return err
			}
			defer s.Close()
			if _, err := s.Copy(cmd.Context(), a.out); err != nil {
				return fmt.Errorf("stream %s: %w", args[0], err)
			}
			return nil
		},
		ValidArgsFunction: a.completeStreams,
	}
}

func (a *app) completeStreams(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	r, err := a.openRepository(cmd, repository.Options{ReadOnly: true})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer r.Close()
	streams, err := r.Streams()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, s := range streams {
		names = append(names, s.ID)
		for _, ref := range s.Refs {
			names = append(names, "refs/"+ref)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
