package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/repository"
)

func (a *app) leasesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "leases [rm ID...]",
		Short: "list what running imports and others keep",
		Long: `leases lists the leases of a repository. A lease keeps objects and images from being collected: those
of a running import until that ends, those that programs made for other reasons until they expire.
"held" is one whose process runs; one that is "over" goes with the next garbage collection.

"leases rm" ends leases that no process holds before they expire.`,
		Example: `  composefs leases
  composefs leases rm 3J4XQ2D5ZK7HMWPTB6RNYCVFGA`,
		Args: wordOrNothing("rm", "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.openRepository(cmd, repository.Options{})
			if err != nil {
				return err
			}
			defer r.Close()
			if len(args) > 0 {
				return removeLeases(r, args[1:])
			}
			leases, err := r.Leases()
			if err != nil {
				return err
			}
			return a.printLeases(leases, asJSON)
		},
		ValidArgsFunction: a.completeLeases,
	}
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

// wordOrNothing is a check for no arguments, or a word and what it needs at least one of.
func wordOrNothing(word, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) > 0 && args[0] != word:
			return fmt.Errorf("unexpected argument %q: want %s or nothing", args[0], word)
		case len(args) == 1:
			return errors.New(what + " is missing")
		}
		return nil
	}
}

func removeLeases(r *repository.Repository, ids []string) error {
	var errs []error
	for _, id := range ids {
		err := r.RemoveLease(id)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: no such lease in repository %s", id, r.Path())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (a *app) printLeases(leases []repository.LeaseInfo, asJSON bool) error {
	return a.result(func(w *bufio.Writer) error {
		if asJSON {
			list := jsonList{w: w}
			for _, l := range leases {
				if err := list.add(l); err != nil {
					return err
				}
			}
			return list.end()
		}
		if len(leases) == 0 {
			return nil
		}
		rows := [][]string{{"ID", "OWNER", "PID", "CREATED", "EXPIRES", "OBJECTS"}}
		for _, l := range leases {
			rows = append(rows, []string{
				printable(l.ID), printable(l.Owner), strconv.Itoa(l.PID), utc(l.Created),
				leaseEnd(l, time.Now()), strconv.FormatInt(l.Objects, 10),
			})
		}
		return columns(w, rows, 2, 5)
	})
}

// leaseEnd says when a lease ends.
func leaseEnd(l repository.LeaseInfo, now time.Time) string {
	switch {
	case !l.Live(now):
		return "over"
	case l.Held:
		return "held"
	}
	return utc(l.Expires)
}

func utc(t time.Time) string { return t.UTC().Format(time.DateTime) }

// completeLeases completes the word and the ids of leases that may be removed.
func (a *app) completeLeases(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return []cobra.Completion{"rm"}, cobra.ShellCompDirectiveNoFileComp
	}
	r, err := a.openRepository(cmd, repository.Options{ReadOnly: true})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer r.Close()
	leases, err := r.Leases()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []cobra.Completion
	for _, l := range leases {
		if !l.Held {
			ids = append(ids, cobra.CompletionWithDesc(l.ID, l.Owner))
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
