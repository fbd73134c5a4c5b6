package report

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/repository"
)

// Report is what a page shows. All figures are bytes, unless they say otherwise.
type Report struct {
	Path string // of the repository
	Time time.Time

	Images []Image // that can be read, those first that hold most
	Broken []Broken
	// Shared says for two images, by their indexes in Images, what the objects hold that both need.
	Shared [][]int64

	Files     int64 // of all images together, as if nothing were shared
	Stored    int64 // of all objects in the repository
	Objects   int   // how many these are
	Elsewhere int64 // needed, and only in other stores
	InStreams int64 // needed by streams only
	Streams   int   // how many there are
	Unneeded  int64 // the next collection removes it
}

// Image is one image.
type Image struct {
	Digest    fsverity.Digest
	Names     []string
	Files     int64 // of its files, as if nothing were shared
	Stored    int64 // of the image and its objects
	Exclusive int64 // of these
	Root      *Node
}

// Broken is an image that is of no use.
type Broken struct {
	Names  []string
	Reason string
}

// Label names an image for people.
func (i *Image) Label() string {
	if len(i.Names) > 0 {
		return i.Names[0]
	}
	return i.Digest.String()[:12]
}

// Collect finds out what a repository holds.
func Collect(ctx context.Context, r *repository.Repository) (*Report, error) {
	usage, err := r.Usage(ctx)
	if err != nil {
		return nil, fmt.Errorf("report of %s: %w", r.Path(), err)
	}
	p := &Report{
		Path: r.Path(), Time: time.Now(), Files: usage.Files, Stored: usage.Stored, Objects: usage.Objects,
		Elsewhere: usage.Elsewhere, InStreams: usage.InStreams, Streams: usage.Streams, Unneeded: usage.Unneeded,
	}
	var order []int
	for i, img := range usage.Images {
		if img.Err != nil {
			p.Broken = append(p.Broken, Broken{img.Refs, img.Err.Error()})
			continue
		}
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(stored(&usage.Images[b]), stored(&usage.Images[a]))
	})
	p.Images, p.Shared = make([]Image, len(order)), make([][]int64, len(order))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(min(4, runtime.GOMAXPROCS(0))) // each holds the metadata of a tree
	for to, from := range order {
		img := &usage.Images[from]
		p.Images[to] = Image{
			Digest: img.Digest, Names: img.Refs, Files: img.Files, Stored: stored(img), Exclusive: img.Exclusive,
		}
		for _, other := range order {
			p.Shared[to] = append(p.Shared[to], usage.Shared[from][other])
		}
		g.Go(func() error { return p.Images[to].read(gctx, r, usage) })
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("report of %s: %w", r.Path(), err)
	}
	return p, nil
}

func stored(img *repository.ImageUsage) int64 { return img.Image + img.Stored }

// read makes the nodes of an image.
func (i *Image) read(ctx context.Context, r *repository.Repository, usage *repository.Usage) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	img, err := r.OpenImage(i.Digest.String())
	if err != nil {
		return err
	}
	defer img.Close()
	root, err := img.Tree(erofs.TreeOptions{MetadataOnly: true})
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Digest, err)
	}
	i.Root = newNode(root, img.Size(), i.Stored, func(digest fsverity.Digest) bool { return usage.Sharing(digest) == 1 })
	return nil
}
