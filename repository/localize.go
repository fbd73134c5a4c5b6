package repository

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
)

// Localized sums up what was copied from other stores.
type Localized struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

// Localize copies the objects of images that only other stores have into the repository itself, which
// is faster then, and does without the others for these images. Each is verified as it is copied: one
// whose content is wrong is [objects.ErrCorrupt], and is not copied.
func (r *Repository) Localize(ctx context.Context, names ...string) (Localized, error) {
	t, err := r.Begin(ctx, TransactionOptions{Owner: "localize"})
	if err != nil {
		return Localized{}, err
	}
	defer t.Abort()
	opts := r.putOptions()
	opts.Claim, opts.Elsewhere = t.lease.claim, nil
	own, err := objects.OpenIn(r.root, objectsDir, opts)
	if err != nil {
		return Localized{}, err
	}
	defer own.Close()
	var done Localized
	for _, name := range names {
		if err := r.localize(ctx, own, name, &done); err != nil {
			return done, fmt.Errorf("localize %s: %w", name, err)
		}
	}
	return done, t.Commit(ctx)
}

func (r *Repository) localize(ctx context.Context, own *objects.Dir, name string, done *Localized) error {
	digest, err := r.ResolveImage(name)
	if err != nil {
		return err
	}
	refs, err := r.imageObjects(digest)
	if err != nil {
		return err
	}
	for _, ref := range append(refs, ObjectRef{Digest: digest}) {
		if ok, err := own.Has(ref.Digest); err != nil || ok {
			if err != nil {
				return err
			}
			continue
		}
		size, err := r.copyObject(ctx, own, ref.Digest)
		if err != nil {
			return err
		}
		done.Objects++
		done.Bytes += size
	}
	return nil
}

// copyObject puts an object of another store into a directory of objects.
func (r *Repository) copyObject(ctx context.Context, to *objects.Dir, digest fsverity.Digest) (int64, error) {
	f, err := r.OpenObject(digest)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return putVerified(ctx, to, f, digest)
}

// putVerified puts a file that should have a digest, and returns its size.
func putVerified(ctx context.Context, to *objects.Dir, f *os.File, want fsverity.Digest) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	// Hashed first, so that what has another digest does not get in under that.
	got, err := fsverity.File(ctx, f, info.Size(), fsverity.FileOptions{Options: fsverity.Options{Algorithm: fsverity.Algorithm{
		Hash: want.Hash(), BlockBits: fsverity.SHA256.BlockBits,
	}}})
	if err == nil && got != want {
		err = fmt.Errorf("%s: %w: its content has %s", f.Name(), objects.ErrCorrupt, got)
	}
	if err != nil {
		return 0, err
	}
	stored, err := to.Put(ctx, f, info.Size())
	if err == nil && stored.Digest != want {
		err = fmt.Errorf("%s: %w", f.Name(), objects.ErrChanged)
	}
	return info.Size(), err
}

// allThere returns an error that wraps ErrNotFound if an image or stream needs an object that neither the
// repository nor one of its stores has.
func (r *Repository) allThere() error {
	images, err := r.images().entries()
	if err != nil {
		return err
	}
	for _, e := range images {
		refs, err := r.imageObjects(e.digest)
		if err := errors.Join(e.err, err); err != nil {
			return fmt.Errorf("image %s: %w", e.name, err)
		}
		for _, ref := range append(refs, ObjectRef{Digest: e.digest}) {
			if err := r.isThere(ref.Digest); err != nil {
				return fmt.Errorf("image %s: %w", e.name, err)
			}
		}
	}
	streams, err := r.streams().entries()
	if err != nil {
		return err
	}
	for _, e := range streams {
		s, err := r.openStream(e.digest)
		if err := errors.Join(e.err, err); err != nil {
			return fmt.Errorf("stream %s: %w", e.name, err)
		}
		err = r.isThere(e.digest)
		for digest := range s.References() {
			if err == nil {
				err = r.isThere(digest)
			}
		}
		if err := errors.Join(err, s.Close()); err != nil {
			return fmt.Errorf("stream %s: %w", e.name, err)
		}
	}
	return nil
}

func (r *Repository) isThere(digest fsverity.Digest) error {
	ok, err := r.Has(digest)
	if err == nil && !ok {
		err = fmt.Errorf("object %s: %w", digest, ErrNotFound)
	}
	return err
}
