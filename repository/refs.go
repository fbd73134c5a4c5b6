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
// it. [ErrNotFound] reports a name that is not there. Like [Repository.Begin] it waits as long as a program
// of composefs-rs collects garbage, which does not bear that names go.
func (r *Repository) UntagImage(ctx context.Context, name string) error {
	return r.untag(ctx, r.images(), name)
}

// UntagStream removes a name of a stream, see [Repository.UntagImage].
func (r *Repository) UntagStream(ctx context.Context, name string) error {
	return r.untag(ctx, r.streams(), name)
}

func (r *Repository) untag(ctx context.Context, l links, name string) (err error) {
	lease, err := r.newLease(ctx, "untag", 0)
	if err != nil {
		return fmt.Errorf("remove %s %s: %w", l.what, name, err)
	}
	defer func() { err = errors.Join(err, lease.Release()) }()
	leave, _, err := r.guard.enter(ctx, lease)
	if err != nil {
		return fmt.Errorf("remove %s %s: %w", l.what, name, err)
	}
	defer leave()
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
