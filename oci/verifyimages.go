package oci

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/repository"
)

// readImages compares the composefs images of an image with the digests that they are known by. A mount does that
// too, but who verifies wants to know before.
func (v *Verified) readImages(ctx context.Context, r *repository.Repository) error {
	for _, key := range slices.Sorted(maps.Keys(v.Image.images)) {
		want := v.Image.images[key]
		got, err := objectDigest(ctx, r, want)
		err = broken(err)
		if err == nil && got != want {
			err = fmt.Errorf("%w: its content has the digest %s, not %s", ErrCorrupt, got, want)
		}
		if err != nil {
			return fmt.Errorf("composefs image %s: %w", key, err)
		}
	}
	return nil
}

// broken says of what is missing of an image that is here that the image is not whole.
func broken(err error) error {
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// objectDigest computes the fs-verity digest of an object.
func objectDigest(ctx context.Context, r *repository.Repository, d fsverity.Digest) (fsverity.Digest, error) {
	f, err := r.OpenObject(d)
	if err != nil {
		return fsverity.Digest{}, err
	}
	defer f.Close()
	stored, err := digestOnly{r.Algorithm()}.PutReader(ctx, f)
	return stored.Digest, err
}
