package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/oci"
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
		a.initCommand(), a.importCommand(), a.imagesCommand(), a.tagCommand(), a.rmCommand(), a.gcCommand(), a.fsckCommand(),
		a.dfCommand(), a.whyCommand(), a.reportCommand(),
		a.storesCommand(), a.localizeCommand(), a.leasesCommand(), a.streamsCommand(), a.catStreamCommand(),
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

// imageName returns the name or whole digest of an image that a word of the command line means:
// also the name of a container image, and the beginning of a digest, as images prints it.
func imageName(ctx context.Context, r *repository.Repository, word string) (string, error) {
	_, err := r.ResolveImage(word)
	if err == nil || !errors.Is(err, repository.ErrNotFound) && !errors.Is(err, repository.ErrName) {
		return word, err
	}
	// The name of a container image stands for its composefs image.
	if img, errOCI := openContainer(ctx, r, word); errOCI == nil {
		d, err := rootfsOf(r, img, false)
		return d.String(), err
	}
	if !isDigestPrefix(word) {
		return word, unknownImage(r, word, err)
	}
	images, errList := r.Images()
	if errList != nil {
		return "", errList
	}
	found := ""
	for _, img := range images {
		if img.Digest.IsZero() || !strings.HasPrefix(img.Digest.String(), strings.ToLower(word)) {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("%s: more than one image has a digest that begins so", word)
		}
		found = img.Digest.String()
	}
	if found == "" {
		return "", unknownImage(r, word, err)
	}
	return found, nil
}

// isDigestPrefix says whether a word may be the beginning of a digest.
func isDigestPrefix(word string) bool {
	const least = 4
	return len(word) >= least && strings.Trim(strings.ToLower(word), "0123456789abcdef") == ""
}

// errNoImage reports a name that no image of a repository has.
var errNoImage = errors.New("no such image")

// unknownImage names the repository where an image is missing.
func unknownImage(r *repository.Repository, name string, err error) error {
	if errors.Is(err, repository.ErrNotFound) {
		return fmt.Errorf("%s: %w in repository %s", name, errNoImage, r.Path())
	}
	return err
}

// checkName says whether an image, a container image or another one, can have a name.
func checkName(name string) error {
	err := repository.CheckRef(name)
	if err == nil || oci.CheckTag(name) == nil {
		return nil
	}
	return usageError{err}
}

// checkNames says whether images that are none of containers can have these names: one cannot be a directory of
// another, nor hide a container image.
func checkNames(ctx context.Context, r *repository.Repository, names []string) error {
	for _, name := range names {
		_, err := oci.Open(ctx, r, name)
		absent := errors.Is(err, oci.ErrNotFound) && !errors.Is(err, oci.ErrCorrupt)
		if !absent && !errors.Is(err, oci.ErrName) {
			return fmt.Errorf("%s is the name of a container image (`composefs rm` takes it away): %w", name, repository.ErrName)
		}
	}
	images, err := r.Images()
	if err != nil {
		return err
	}
	others := slices.Clone(names)
	for _, img := range images {
		others = append(others, img.Refs...)
	}
	for _, name := range names {
		for _, other := range others {
			if strings.HasPrefix(name, other+"/") || strings.HasPrefix(other, name+"/") {
				return fmt.Errorf("%s cannot be a name beside %s: %w", name, other, repository.ErrName)
			}
		}
	}
	return nil
}

// completeImages completes the names of images.
func (a *app) completeImages(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	r, err := a.openRepository(cmd, repository.Options{ReadOnly: true})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer r.Close()
	images, err := r.Images()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, img := range images {
		names = append(names, img.Refs...)
	}
	if tags, err := oci.NewSource(r, "").Tags(cmd.Context()); err == nil {
		names = append(names, tags...)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeImageOrFile completes what openImage opens: names of images, else files.
func (a *app) completeImageOrFile(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	names, _ := a.completeImages(cmd, args, begun)
	names = slices.DeleteFunc(names, func(name cobra.Completion) bool { return !strings.HasPrefix(name, begun) })
	return names, cobra.ShellCompDirectiveDefault
}
