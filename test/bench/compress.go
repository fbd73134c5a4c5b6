//go:build linux

package main

import (
	"context"
	"errors"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/oci/compress"
	"github.com/go-composefs/composefs/repository"
)

// compressAlone compresses the layers of the image "first" of a repository, four at a time, as push does, and keeps
// nothing.
func compressAlone(path string) error {
	ctx := context.Background()
	r, err := repository.Open(path, repository.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer r.Close()
	img, err := oci.Open(ctx, r, "first")
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, l := range img.Layers {
		g.Go(func() error {
			s, err := r.OpenStream(l.Stream)
			if err != nil {
				return err
			}
			defer s.Close()
			w, err := compress.NewZstd(io.Discard, 3, 0)
			if err != nil {
				return err
			}
			_, err = s.Copy(ctx, w)
			return errors.Join(err, w.Close())
		})
	}
	return g.Wait()
}
