package main

import (
	"bufio"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/bytesize"
	"github.com/go-composefs/composefs/repository"
)

// repoImageJSON is one image of `images --json`.
type repoImageJSON struct {
	Digest     fsverity.Digest `json:"digest,omitzero"`
	Names      []string        `json:"names"`
	Format     string          `json:"format,omitempty"`
	Size       int64           `json:"size"`
	ImageSize  int64           `json:"image_size"`
	Objects    int             `json:"objects"`
	Protection protection      `json:"protection,omitempty"`
	Containers []string        `json:"containers"`
	Problem    string          `json:"problem,omitempty"`
}

func (a *app) imagesCommand() *cobra.Command {
	var asJSON, whole bool
	cmd := &cobra.Command{
		Use:   "images",
		Short: "list the images of a repository",
		Long: `images lists the images of a repository: a line for each name, with the image's digest, what the image
and its objects hold together (whatever other images share of it: df tells), and by what its bytes are
verified:

  kernel        The image and all its objects have fs-verity, so that the kernel verifies each byte
                that is read. In a repository that requires fs-verity mounts demand that; in others
                they do with --verity=require.
  reading only  Wrong bytes are found by reading everything, with fsck, and not by using a mount.

A name in the column is that of an image, or of a container image whose composefs image it is; "inspect" and
"layers" tell more of those. An image of the name "-" has none, and goes with the next garbage collection unless something else
keeps it. If there is one that is of no use, images ends with exit code 3.`,
		Example: `  composefs images
  composefs images --json | jq -r '.[] | select(.protection != "kernel") | .names[]'`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := a.openRepository(cmd, repository.Options{})
			if err != nil {
				return err
			}
			defer r.Close()
			list, err := describeImages(cmd.Context(), r)
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printImagesJSON(list)
			} else {
				err = a.printImages(list, whole)
			}
			if err != nil {
				return err
			}
			for _, img := range list {
				if img.Problem != "" {
					return corrupt(img.Problem)
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&whole, "no-trunc", false, "print whole digests")
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

// describeImages looks into all images of a repository.
func describeImages(ctx context.Context, r *repository.Repository) ([]repoImageJSON, error) {
	images, err := r.Images()
	if err != nil {
		return nil, err
	}
	containers, err := containerNames(ctx, r)
	if err != nil {
		return nil, err
	}
	p := newProtector(r)
	list := make([]repoImageJSON, len(images))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(min(4, runtime.GOMAXPROCS(0))) // each holds the metadata of a tree
	for i, info := range images {
		g.Go(func() error {
			list[i] = describeImage(r, p, info)
			list[i].Containers = append([]string{}, containers[info.Digest]...)
			return ctx.Err()
		})
	}
	return list, g.Wait()
}

func describeImage(r *repository.Repository, p *protector, info repository.ImageInfo) repoImageJSON {
	j := repoImageJSON{Digest: info.Digest, Names: append([]string{}, info.Refs...)}
	err := info.Err
	if err == nil {
		err = j.measure(r, p)
	}
	if err != nil {
		j.Problem = err.Error()
	}
	return j
}

// measure looks into the image.
func (j *repoImageJSON) measure(r *repository.Repository, p *protector) error {
	img, err := r.OpenImage(j.Digest.String())
	if err != nil {
		return err
	}
	defer img.Close()
	refs, err := img.Objects()
	if err != nil {
		return fmt.Errorf("image %s: %w", j.Digest, err)
	}
	info, err := img.File.Stat()
	if err != nil {
		return err
	}
	j.Format = img.Format().String()
	j.ImageSize, j.Objects = info.Size(), len(refs)
	j.Size = j.ImageSize
	for _, ref := range refs {
		j.Size += ref.Size
	}
	j.Protection, err = p.of(img, func() ([]repository.ObjectRef, error) { return refs, nil })
	return err
}

func (a *app) printImagesJSON(list []repoImageJSON) error {
	return a.result(func(w *bufio.Writer) error {
		out := jsonList{w: w}
		for _, img := range list {
			if err := out.add(img); err != nil {
				return err
			}
		}
		return out.end()
	})
}

func (a *app) printImages(list []repoImageJSON, whole bool) error {
	if len(list) == 0 {
		return nil
	}
	rows := [][]string{{"NAME", "DIGEST", "SIZE", "PROTECTION"}}
	for _, img := range list {
		digest, size, words := img.Digest.String(), bytesize.String(img.Size), string(img.Protection)
		if !whole && len(digest) > shortDigestLen {
			digest = digest[:shortDigestLen]
		}
		if img.Problem != "" {
			size, words = "-", "of no use: "+strings.ToValidUTF8(oneLine(img.Problem), "?")
		}
		names := append(slices.Clone(img.Names), img.Containers...)
		if len(names) == 0 {
			names = []string{"-"}
		}
		for _, name := range names {
			rows = append(rows, []string{printable(name), orDash(digest), size, words})
		}
	}
	return a.result(func(w *bufio.Writer) error { return columns(w, rows, 2) })
}

// shortDigestLen is how much of a digest tells it from others at a glance, in hex digits.
const shortDigestLen = 12
