package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/mount"
	"github.com/go-composefs/composefs/repository"
)

// errMountUnknown reports a mount of which nobody can tell what it needs.
var errMountUnknown = errors.New("what the mount needs cannot be told")

// mountedFrom returns what the mounts need that have the repository as a store. Their images can be
// files anywhere, which the collector does not know. A mount whose image cannot be read is an error
// unless it is to be passed over.
func (a *app) mountedFrom(ctx context.Context, r *repository.Repository, force bool) ([]fsverity.Digest, error) {
	mounts, err := mount.List()
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, nil // a system without mounts
	}
	if err != nil {
		return nil, err
	}
	var keep []fsverity.Digest
	for _, info := range mounts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !mayUse(r, info) {
			continue
		}
		needed, err := neededByMount(ctx, r, info)
		switch {
		case err == nil:
			keep = append(keep, needed...)
		case force:
			a.remark("note: mount %s is passed over: %v", info.Target, err)
		default:
			return nil, advisedError{
				fmt.Errorf("%w: %s: %w", errMountUnknown, info.Target, err),
				"unmount it first; --force passes over it, and its files may be lost then",
			}
		}
	}
	return keep, nil
}

// mayUse says whether a mount has the repository as a store, or nobody knows its stores.
func mayUse(r *repository.Repository, info mount.Info) bool {
	if slices.Contains(info.Unknown, "objects") {
		return true
	}
	own, err := r.ObjectDirs()[0].Stat()
	if err != nil {
		return true
	}
	for _, dir := range info.Objects {
		if store, err := os.Stat(dir); err == nil && os.SameFile(store, own) {
			return true
		}
	}
	return false
}

// neededByMount returns the objects that a mount needs.
func neededByMount(ctx context.Context, r *repository.Repository, info mount.Info) ([]fsverity.Digest, error) {
	if !info.Digest.IsZero() {
		if _, err := r.ResolveImage(info.Digest.String()); err == nil {
			return []fsverity.Digest{info.Digest}, nil // it is kept with all that it needs
		}
	}
	// composefs-rs mounts images of its repositories, and gives the kernel the digest for a path. Its
	// stores are that repository's, which is another one if the image is not here.
	if digest, err := fsverity.ParseDigest(info.Image); err == nil {
		if _, err := r.ResolveImage(digest.String()); errors.Is(err, repository.ErrNotFound) {
			return nil, nil
		}
		return []fsverity.Digest{digest}, nil
	}
	if info.Image == "" {
		return nil, errors.New("the kernel does not know its image")
	}
	img, err := openImageFile(info.Image)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	if !info.Digest.IsZero() {
		got, err := digestFile(ctx, img.file, info.Image, fsverity.Algorithm{Hash: info.Digest.Hash(), BlockBits: fsverity.SHA256.BlockBits})
		if err != nil {
			return nil, err
		}
		if got.Digest != info.Digest {
			return nil, fmt.Errorf("%s is another image by now", info.Image)
		}
	}
	refs, err := (&repository.Image{Image: img.Image}).Objects()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", info.Image, err)
	}
	needed := make([]fsverity.Digest, len(refs))
	for i, ref := range refs {
		needed[i] = ref.Digest
	}
	return needed, nil
}
