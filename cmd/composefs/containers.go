package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/oci/manifest"
	"github.com/go-composefs/composefs/repository"
)

// containerCommands are the commands that are about container images.
func (a *app) containerCommands() []*cobra.Command {
	commands := []*cobra.Command{
		a.pullCommand(), a.pushCommand(), a.copyCommand(), a.inspectCommand(), a.layersCommand(), a.untagCommand(),
		a.sealCommand(), a.signCommand(), a.verifyCommand(), a.deltaCommand(),
	}
	for _, cmd := range commands {
		repoFlag(cmd)
	}
	return commands
}

// errNoContainer reports a name that no container image of a repository has.
var errNoContainer = errors.New("no such container image")

// unknownContainer names the repository where a container image is missing.
func unknownContainer(r *repository.Repository, name string, err error) error {
	if errors.Is(err, oci.ErrNotFound) {
		if _, gone := oci.Open(context.Background(), r, name); errors.Is(gone, oci.ErrNotFound) && !errors.Is(gone, oci.ErrCorrupt) {
			return fmt.Errorf("%s: %w in repository %s", name, errNoContainer, r.Path())
		}
	}
	return err
}

// openContainer opens a container image by a word of the command line: a tag, "@" and a digest, or the digest
// of its manifest alone.
func openContainer(ctx context.Context, r *repository.Repository, word string) (*oci.Image, error) {
	if manifest.CheckDigest(digest.Digest(word)) == nil {
		word = "@" + word
	}
	img, err := oci.Open(ctx, r, word)
	return img, unknownContainer(r, word, err)
}

// variants are the composefs images of a container image that a word stands for, the preferred ones first.
func variants(r *repository.Repository, bootable bool) []oci.Variant {
	var list []oci.Variant
	for _, transform := range []oci.Transform{oci.TransformCanonical, oci.TransformUserXattrs, oci.TransformNone} {
		for _, format := range r.Meta().ImageFormats() {
			list = append(list, oci.Variant{Format: format, Bootable: bootable, Transform: transform})
		}
	}
	return list
}

// rootfsOf returns the composefs image of a container image.
func rootfsOf(r *repository.Repository, img *oci.Image, bootable bool) (fsverity.Digest, error) {
	var first error
	for _, v := range variants(r, bootable) {
		d, err := img.Rootfs(v)
		if err == nil {
			return d, nil
		}
		if first == nil {
			first = err
		}
	}
	return fsverity.Digest{}, first
}

// containerNames returns the names of container images, by the composefs images that were made of them.
func containerNames(ctx context.Context, r *repository.Repository) (map[fsverity.Digest][]string, error) {
	list, err := oci.List(ctx, r)
	if err != nil {
		return nil, err
	}
	names := map[fsverity.Digest][]string{}
	for _, t := range list {
		if t.Image == nil {
			continue
		}
		for key, d := range t.Rootfses() {
			for _, tag := range t.Tags {
				if strings.Contains(key, ".boot") {
					tag += " (bootable)"
				}
				if !slices.Contains(names[d], tag) {
					names[d] = append(names[d], tag)
				}
			}
		}
	}
	return names, nil
}

// nameContainers adds to images that need something the names of the container images that they are.
func nameContainers(ctx context.Context, r *repository.Repository, needers []repository.Needer) error {
	if len(needers) == 0 {
		return nil
	}
	names, err := containerNames(ctx, r)
	for i := range needers {
		if n := &needers[i]; !n.Image.IsZero() {
			n.Names = append(slices.Clone(n.Names), names[n.Image]...)
		}
	}
	return err
}

// completeContainers completes the names of container images.
func (a *app) completeContainers(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	r, err := a.openRepository(cmd, repository.Options{ReadOnly: true})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer r.Close()
	tags, err := oci.NewSource(r, "").Tags(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return tags, cobra.ShellCompDirectiveNoFileComp
}
