package objects

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
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
// the kernel's word if it has fs-verity, else by comparing it with what is to be stored. It
// enables fs-verity where that is wanted and missing.
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
	enable := d.wantsVerity() && !found.verity
	compare := !d.opts.TrustExisting
	if !enable && !compare && !found.verity {
		return present, nil
	}
	f, err := d.openExisting(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return absent, nil
	case cannotRead(err):
		return broken, nil
	case err != nil:
		return absent, err
	}
	defer f.Close()
	if found.verity {
		switch got, err := fsverity.Measure(f); {
		case err == nil && got == digest:
			return present, nil
		case err == nil || errors.Is(err, fsverity.ErrAlgorithm):
			return broken, nil
		case !errors.Is(err, fsverity.ErrNoVerity): // a filesystem over one that has it
			return absent, err
		}
	}
	if compare {
		if same, err := c.equals(ctx, f); err != nil || !same {
			return broken, err
		}
	}
	if enable {
		if err := d.enableVerity(ctx, f, digest); errors.Is(err, fsverity.ErrDigestMismatch) {
			return broken, nil
		} else if err != nil {
			return absent, err
		}
	}
	return present, nil
}

// cannotRead knows the errors of opening or reading an object that a good one does not give,
// other than those of a process or machine short of something.
func cannotRead(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ELOOP)
}

// equals compares an object of the same size with the content.
func (c content) equals(ctx context.Context, object *os.File) (bool, error) {
	buf := getBuffer()
	defer buffers.Put(buf)
	var other *[smallMax + 1]byte
	if c.file != nil {
		other = getBuffer()
		defer buffers.Put(other)
	}
	for off := int64(0); off < c.size; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n := min(smallMax, c.size-off)
		if k, err := object.ReadAt(buf[:n], off); int64(k) < n {
			if err == io.EOF || cannotRead(err) {
				err = nil
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
		if !bytes.Equal(buf[:n], want) {
			return false, nil
		}
		off += n
	}
	return true, nil
}
