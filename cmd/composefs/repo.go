package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/repository"
)

// repoVariable is the environment's way to say --repo.
const repoVariable = "COMPOSEFS_REPO"

// systemRepo is where composefs-rs keeps the repository of the system, and so do we.
const systemRepo = "/sysroot/composefs"

// errNoRepository reports that no repository was named and none is in the usual places.
var errNoRepository = errors.New("no repository")

// repositoryCommands are the commands that need a repository.
func (a *app) repositoryCommands() []*cobra.Command {
	commands := []*cobra.Command{
		a.initCommand(),
	}
	for _, cmd := range commands {
		repoFlag(cmd)
	}
	return commands
}

// repoFlag defines --repo.
func repoFlag(cmd *cobra.Command) {
	cmd.Flags().String("repo", "", "the repository's `DIR` (default $"+repoVariable+", else "+systemRepo+
		" or /var/lib/composefs for root, $HOME/.var/lib/composefs or $XDG_DATA_HOME/composefs for others)")
	_ = cobra.MarkFlagDirname(cmd.Flags(), "repo") // just defined
}

// repositoryPath returns where the repository is that a command line means: the first usual place
// that has one, else the last of them.
func repositoryPath(cmd *cobra.Command) string {
	if path, err := cmd.Flags().GetString("repo"); err == nil && path != "" {
		return path
	}
	if path := os.Getenv(repoVariable); path != "" {
		return path
	}
	places := usualRepositories()
	for _, path := range places {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return places[len(places)-1]
}

// usualRepositories are the places of a user's repository; the first is composefs-rs's.
func usualRepositories() []string {
	if os.Geteuid() == 0 {
		return []string{systemRepo, "/var/lib/composefs"}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/"
	}
	data := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(data) {
		data = filepath.Join(home, ".local/share")
	}
	return []string{filepath.Join(home, ".var/lib/composefs"), filepath.Join(data, "composefs")}
}

// openRepository opens the repository that a command line means. Close it after use.
func (a *app) openRepository(cmd *cobra.Command, opts repository.Options) (*repository.Repository, error) {
	path := repositoryPath(cmd)
	r, err := repository.Open(path, opts)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w at %s", errNoRepository, path)
	}
	return r, err
}
