package repository

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-composefs/composefs/fsverity"
)

// TagImage gives an image a name, durably; the image that had it loses it. See
// [Transaction.TagImage] for images that are being made.
func (r *Repository) TagImage(ctx context.Context, name, image string) error {
	digest, err := r.ResolveImage(image)
	if err != nil {
		return err
	}
	return r.tag(ctx, func(t *Transaction) error { return t.TagImage(name, digest) })
}

// TagStream gives a stream a name, durably.
func (r *Repository) TagStream(ctx context.Context, name, id string) error {
	return r.tag(ctx, func(t *Transaction) error { return t.TagStream(name, id) })
}

func (r *Repository) tag(ctx context.Context, tag func(*Transaction) error) error {
	t, err := r.Begin(ctx, TransactionOptions{Owner: "tag"})
	if err != nil {
		return err
	}
	defer t.Abort()
	if err := tag(t); err != nil {
		return err
	}
	return t.Commit(ctx)
}

// UntagImage removes a name, durably. The image stays until it is collected, if nothing else keeps
// it. [ErrNotFound] reports a name that is not there.
func (r *Repository) UntagImage(name string) error { return r.untag(r.images(), name) }

// UntagStream removes a name of a stream, durably.
func (r *Repository) UntagStream(name string) error { return r.untag(r.streams(), name) }

func (r *Repository) untag(l links, name string) error {
	if err := r.writable(); err != nil {
		return err
	}
	dirs := l.dirs([]string{name})
	if err := l.removeRef(name); err != nil {
		return fmt.Errorf("remove %s %s: %w", l.what, name, err)
	}
	for _, dir := range dirs {
		// Directories that it has left empty are gone.
		if err := r.syncDir(dir); err != nil && !gone(err) {
			return err
		}
	}
	return nil
}

// RefsOf returns the names of an image, sorted.
func (r *Repository) RefsOf(image fsverity.Digest) ([]string, error) {
	refs, err := r.images().refs()
	var names []string
	var errs []error
	for _, ref := range refs {
		if ref.err != nil {
			errs = append(errs, ref.err)
		} else if ref.target == image.String() {
			names = append(names, ref.name)
		}
	}
	return names, errors.Join(append(errs, err)...)
}
