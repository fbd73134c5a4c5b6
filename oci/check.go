package oci

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/go-composefs/composefs/oci/policy"
	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/splitstream"
)

// ProblemContainer is the kind of problems that container images have beside those that a check of the repository
// finds.
const ProblemContainer repository.ProblemKind = "container"

// Check looks whether the container images that have names are what they are said to be: that their layers and
// composefs images are there and agree with the config, and their own seals with them. With data it also reads the
// tars of all layers, each once, and compares them with their diff_ids. Errors are about what keeps it from looking.
func Check(ctx context.Context, r *repository.Repository, data bool) ([]repository.Problem, error) {
	list, err := List(ctx, r)
	if err != nil {
		return nil, err
	}
	c := &containerChecker{r: r, layers: map[string]Layer{}, users: map[string]string{}}
	for _, t := range list {
		c.path = "streams/refs/" + tagRef(t.Tags[0])
		if t.Err != nil {
			c.found(c.path, t.Err)
			continue
		}
		if err := c.image(ctx, t.Image); err != nil {
			return nil, err
		}
	}
	if data {
		err = c.readLayers(ctx)
	}
	return c.problems, err
}

// containerChecker is one check.
type containerChecker struct {
	r      *repository.Repository
	path   string            // of the ref that is looked at
	layers map[string]Layer  // by their streams, each once
	users  map[string]string // refs of an image that has the layer

	mu       sync.Mutex
	problems []repository.Problem
}

func (c *containerChecker) found(path string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems = append(c.problems, repository.Problem{
		Kind: ProblemContainer, Path: path, Detail: strings.ReplaceAll(err.Error(), "\n", "; "),
	})
}

func (c *containerChecker) image(ctx context.Context, img *Image) error {
	whole := true
	for n, l := range img.Layers {
		err := c.layer(l, img.Artifact)
		if err != nil {
			whole = false
			c.found(c.path, fmt.Errorf("layer %d of %d: %w", n+1, len(img.Layers), err))
		}
	}
	for key, d := range img.images {
		if _, err := c.r.ResolveImage(d.String()); err != nil {
			c.found(c.path, fmt.Errorf("its %s: %w", key, err))
		}
	}
	if !whole {
		return ctx.Err()
	}
	// Only what the image says of itself must be true, so no rule is asked.
	_, err := evidence(ctx, img, evidenceOptions{
		from: repositoryStreams{c.r}, store: digestOnly{c.r.Algorithm()}, format: c.r.Meta().Format(), alg: c.r.Algorithm(),
	})
	if errors.Is(err, policy.ErrRefused) || errors.Is(err, repository.ErrCorrupt) || errors.Is(err, ErrNotFound) {
		c.found(c.path, err)
		err = nil
	}
	return errors.Join(err, ctx.Err())
}

// layer looks whether the stream of a layer is there.
func (c *containerChecker) layer(l Layer, blob bool) error {
	s, err := c.r.OpenStream(l.Stream)
	if err != nil {
		return err
	}
	defer s.Close()
	kind := splitstream.Layer
	if blob {
		kind = splitstream.Blob
	}
	if s.ContentType() != kind {
		return fmt.Errorf("%w: stream %s is %v, not %v", ErrCorrupt, l.Stream, s.ContentType(), kind)
	}
	c.layers[l.Stream], c.users[l.Stream] = l, c.path
	return nil
}

// readLayers compares the content of all streams with the digests that they have in their names.
func (c *containerChecker) readLayers(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for id, l := range c.layers {
		g.Go(func() error {
			if err := l.read(ctx, c.r); err != nil && ctx.Err() == nil {
				c.found(c.users[id], fmt.Errorf("layer %s: %w", id, err))
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}
