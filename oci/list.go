package oci

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/repository"
)

// Tagged is an image with its tags.
type Tagged struct {
	Digest digest.Digest // of the manifest
	Tags   []string      // sorted
	*Image               // nil if it is of no use
	Err    error         // why
}

// List returns the images that have tags, by their first one. Manifests and configs are read, layers are not.
func List(ctx context.Context, r *repository.Repository) ([]Tagged, error) {
	found, err := r.Streams()
	if err != nil {
		return nil, err
	}
	var list []Tagged
	for _, s := range found {
		t := Tagged{Err: s.Err}
		for _, ref := range s.Refs {
			if tag, ok := tagOf(ref); ok {
				t.Tags = append(t.Tags, tag)
			}
		}
		if len(t.Tags) == 0 {
			continue
		}
		slices.Sort(t.Tags)
		d, ok := strings.CutPrefix(s.ID, manifestPrefix)
		t.Digest = digest.Digest(d)
		if !ok && t.Err == nil {
			t.Err = fmt.Errorf("%w: %s is no manifest", ErrCorrupt, s.ID)
		}
		if t.Err == nil {
			t.Image, t.Err = load(ctx, repositoryStreams{r}, s.ID)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b Tagged) int { return slices.Compare(a.Tags, b.Tags) })
	return list, nil
}

// Tag gives an image, which name says as [Open] takes it, one more tag, durably. An image that had it loses
// it.
func Tag(ctx context.Context, r *repository.Repository, name, tag string) error {
	if err := CheckTag(tag); err != nil {
		return err
	}
	id, err := resolve(r, name)
	if err != nil {
		return err
	}
	return r.TagStream(ctx, tagRef(tag), id)
}

// Untag removes a tag, durably. The image stays until garbage is collected, unless something else keeps it.
// [ErrNotFound] reports a tag that is not there.
func Untag(ctx context.Context, r *repository.Repository, tag string) error {
	if err := CheckTag(tag); err != nil {
		return err
	}
	if err := r.UntagStream(ctx, tagRef(tag)); err != nil {
		return err
	}
	return removeIndexRef(ctx, r, tag)
}

// removeIndexRef lets go of the index that a tag was pulled from, if there is one: looking costs nothing.
func removeIndexRef(ctx context.Context, r *repository.Repository, tag string) error {
	if _, err := r.ResolveStream("refs/" + indexRef(tag)); errors.Is(err, ErrNotFound) {
		return nil
	}
	if err := r.UntagStream(ctx, indexRef(tag)); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}
