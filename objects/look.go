package objects

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"
	"syscall"

	"github.com/go-composefs/composefs/fsverity"
)

// state is what look finds under an object's name.
type state int

const (
	absent state = iota
	present
	broken // something else is there, or nobody can read it
)

// look tells whether the store has an object, and whether it is good: of the right size, and by
// the kernel's word if it has fs-verity, else by its seal or by comparing it with what is to be
// stored. It enables fs-verity where that is wanted and missing.
func (d *Dir) look(ctx context.Context, digest fsverity.Digest, c content) (state, error) {
	path := digest.ObjectPath()
	found, err := d.stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return absent, nil
	case err != nil:
		return absent, err
	case !found.regular || found.size != c.size:
		return broken, nil
	}
	if found.verity {
		good, err := d.measures(path, digest)
		if err == nil || !errors.Is(err, fsverity.ErrNoVerity) {
			return stateOf(good, err)
		}
		// A filesystem over one that has fs-verity: it knows no more than that.
	}
	if d.opts.CompareExisting || !found.sealed(digest) {
		if good, err := d.compare(ctx, path, c); err != nil || !good {
			return stateOf(good, err)
		}
	}
	if d.wantsVerity() {
		return stateOf(d.protectExisting(ctx, path, digest))
	}
	return present, nil
}

// stateOf says what it means that an object is good or not, or that looking at it failed.
func stateOf(good bool, err error) (state, error) {
	switch {
	case errors.Is(err, fs.ErrNotExist): // it has gone meanwhile
		return absent, nil
	case cannotRead(err):
		return broken, nil
	case err != nil:
		return absent, err
	case good:
		return present, nil
	}
	return broken, nil
}

// measures says whether the kernel enforces the digest.
func (d *Dir) measures(path string, want fsverity.Digest) (bool, error) {
	f, err := d.openFile(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	got, err := fsverity.Measure(f)
	if errors.Is(err, fsverity.ErrAlgorithm) {
		return false, nil
	}
	return got == want, err
}

// protectExisting enables fs-verity of a good object.
func (d *Dir) protectExisting(ctx context.Context, path string, digest fsverity.Digest) (bool, error) {
	f, err := d.openFile(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = d.enableVerity(ctx, f, digest)
	if errors.Is(err, fsverity.ErrDigestMismatch) {
		return false, nil
	}
	return true, err
}

// cannotRead knows the errors of opening or reading an object that a good one does not give,
// other than those of a process or machine short of something.
func cannotRead(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ELOOP)
}

// compareSize is how much of an object is compared at a time, in bytes: what processors have
// room for beside the content.
const compareSize = 128 << 10

// chunks are for comparing.
var chunks = sync.Pool{New: func() any { return new([compareSize]byte) }}

// compare says whether an object of the same size has the content.
func (d *Dir) compare(ctx context.Context, path string, c content) (bool, error) {
	if err := d.step("compare"); err != nil {
		return false, err
	}
	object, err := d.openExisting(path)
	if err != nil {
		return false, err
	}
	defer object.Close()
	chunk, _ := chunks.Get().(*[compareSize]byte)
	defer chunks.Put(chunk)
	other := chunk
	if c.file != nil {
		other, _ = chunks.Get().(*[compareSize]byte)
		defer chunks.Put(other)
	}
	for off := int64(0); off < c.size; off += compareSize {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n := min(compareSize, c.size-off)
		if k, err := object.ReadAt(chunk[:n], off); int64(k) < n {
			if errors.Is(err, io.EOF) {
				err = nil // it is shorter now
			}
			return false, err
		}
		var want []byte
		if c.file == nil {
			want = c.data[off : off+n]
		} else {
			want = other[:n]
			if k, err := c.file.ReadAt(want, off); int64(k) < n {
				if err == io.EOF {
					err = ErrChanged
				}
				return false, err
			}
		}
		if !bytes.Equal(chunk[:n], want) {
			return false, nil
		}
	}
	return true, nil
}
