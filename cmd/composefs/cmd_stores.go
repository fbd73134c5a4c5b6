package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/repository"
)

// storeJSON is one store of `stores --json`.
type storeJSON struct {
	Path    string `json:"path"`
	Missing bool   `json:"missing,omitempty"`
}

func (a *app) storesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stores [set DIR...]",
		Short: "list or set other stores of a repository",
		Long: `stores lists the other stores of a repository: directories of objects, or repositories, on other disks
or network mounts, say, which are searched in this order for what the repository lacks. An object that
one of them has is not stored again by an import. They are never written to, and must keep what they
have: a store that collects its own garbage knows nothing of those who use it.

"stores set" replaces the list; without DIR there are none any more. A store that is needed cannot be left
out before "composefs localize --all" has copied what the repository lacks. Programs of other
implementations refuse a repository with other stores.`,
		Example: `  composefs stores set /mnt/nfs/composefs
  composefs localize --all && composefs stores set`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 && args[0] != "set" {
				return fmt.Errorf("unexpected argument %q: want set or nothing", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return setStores(cmd, args[1:])
			}
			r, err := a.openRepository(cmd, repository.Options{})
			if err != nil {
				return err
			}
			defer r.Close()
			return a.printStores(r, asJSON)
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return []cobra.Completion{"set"}, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

func setStores(cmd *cobra.Command, dirs []string) error {
	path := repositoryPath(cmd)
	stores := make([]string, len(dirs))
	for i, dir := range dirs {
		var err error
		// A relative path would begin at the repository.
		if stores[i], err = filepath.Abs(dir); err != nil {
			return err
		}
	}
	err := repository.SetStores(path, stores)
	if _, errStat := os.Stat(path); errors.Is(errStat, fs.ErrNotExist) {
		return fmt.Errorf("%w at %s", errNoRepository, path)
	}
	missing := slices.ContainsFunc(stores, func(dir string) bool { _, err := os.Stat(dir); return err != nil })
	if !missing && errors.Is(err, repository.ErrNotFound) {
		return advisedError{err, "`composefs localize --all` copies what only other stores have"}
	}
	return err
}

func (a *app) printStores(r *repository.Repository, asJSON bool) error {
	return a.result(func(w *bufio.Writer) error {
		list := jsonList{w: w}
		for _, path := range r.Stores() {
			where := path
			if !filepath.IsAbs(where) {
				where = filepath.Join(r.Path(), where)
			}
			_, err := os.Stat(where)
			store := storeJSON{Path: path, Missing: errors.Is(err, fs.ErrNotExist)}
			switch {
			case asJSON:
				if err := list.add(store); err != nil {
					return err
				}
			case store.Missing:
				fmt.Fprintf(w, "%s (missing)\n", printable(path))
			default:
				fmt.Fprintln(w, printable(path))
			}
		}
		if asJSON {
			return list.end()
		}
		return nil
	})
}
