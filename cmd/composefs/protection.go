package main

import (
	"errors"
	"sync"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/repository"
)

// protection says by what the bytes of an image are verified.
type protection string

const (
	// protectedByKernel means that the image and all its objects have fs-verity: the kernel
	// verifies what is read. A repository that requires it answers for that, and its mounts
	// demand it; in others they do with --verity=require.
	protectedByKernel protection = "kernel"
	// protectedByReading means that wrong bytes are found by who reads and compares them, with
	// fsck, check or export, and not by who uses a mount.
	protectedByReading protection = "reading only"
)

// protector finds out about the protection of images. It is safe for concurrent use.
type protector struct {
	r *repository.Repository

	mu    sync.Mutex
	known map[fsverity.Digest]bool // whether objects have fs-verity that were asked for
}

func newProtector(r *repository.Repository) *protector {
	return &protector{r: r, known: map[fsverity.Digest]bool{}}
}

// of returns the protection of an image. Objects are looked at only if the repository does not answer
// for them and the image itself has fs-verity.
func (p *protector) of(img *repository.Image, objects func() ([]repository.ObjectRef, error)) (protection, error) {
	if p.r.RequiresVerity() {
		return protectedByKernel, nil
	}
	if got, err := fsverity.Measure(img.File); err != nil || got != img.Digest {
		return protectedByReading, nil //nolint:nilerr // that is the answer
	}
	refs, err := objects()
	if err != nil {
		return "", err
	}
	for _, ref := range refs {
		if ok, err := p.object(ref.Digest); err != nil || !ok {
			return protectedByReading, err
		}
	}
	return protectedByKernel, nil
}

// object says whether the kernel verifies an object. One that is missing has no wrong bytes.
func (p *protector) object(digest fsverity.Digest) (bool, error) {
	p.mu.Lock()
	ok, known := p.known[digest]
	p.mu.Unlock()
	if known {
		return ok, nil
	}
	f, err := p.r.OpenObject(digest)
	switch {
	case errors.Is(err, repository.ErrNotFound):
		ok = true
	case err != nil:
		return false, err
	default:
		got, err := fsverity.Measure(f)
		f.Close() // it was only read
		ok = err == nil && got == digest
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[digest] = ok
	return ok, nil
}
