package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/go-composefs/composefs/fsverity"
)

// Runs of zeros of holeSize bytes become holes.
const holeSize = 64 << 10

var zeros [holeSize]byte

// fill gives an empty file its content. A file is hashed again as it is copied: it may have
// changed since its digest was taken.
func (d *Dir) fill(ctx context.Context, t *temp, c content, want fsverity.Digest) error {
	if c.file == nil {
		if err := d.step("write"); err != nil {
			return err
		}
		_, err := t.Write(c.data)
		return err
	}
	copied, err := d.clone(t, c.file)
	if err == nil && !copied {
		copied, err = d.copyRanges(t, c)
	}
	if err != nil {
		return err
	}
	var got fsverity.Digest
	if copied {
		got, err = fsverity.File(ctx, t, c.size, d.hashing(want.Hash()))
	} else {
		got, err = fsverity.File(ctx, copier{c.file, t, c.size}, c.size, d.hashing(want.Hash()))
		if err == nil {
			err = t.endAt(c.size)
		}
	}
	if err != nil {
		return changed(err)
	}
	if got != want {
		return fmt.Errorf("%w: its digest was %v and is %v", ErrChanged, want, got)
	}
	return nil
}

// clone lets the object share the blocks of the file, if the filesystem can.
func (d *Dir) clone(t *temp, f *os.File) (bool, error) {
	if d.noClone.Load() {
		return false, nil
	}
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	device := deviceOf(info)
	if _, known := d.foreign.Load(device); known {
		return false, nil
	}
	if err := d.step("clone"); err != nil {
		return false, err
	}
	switch err := cloneFile(t.File, f); {
	case err == nil:
		return true, nil
	case errors.Is(err, syscall.EXDEV):
		d.foreign.Store(device, nil)
	case errors.Is(err, errors.ErrUnsupported), errors.Is(err, syscall.ENOTTY):
		d.noClone.Store(true)
	}
	return false, nil // whatever the reason, copying tells if it is a real one
}

// copyRanges has the kernel copy the file, or on network filesystems the server, and leaves holes as they
// are.
func (d *Dir) copyRanges(t *temp, c content) (bool, error) {
	if d.noCopy.Load() {
		return false, nil
	}
	if err := d.step("copy"); err != nil {
		return false, err
	}
	switch err := copyFile(t.File, c.file, c.size); {
	case err == nil:
		info, err := c.file.Stat()
		if err == nil && info.Size() != c.size {
			err = ErrChanged
		}
		if err != nil {
			return false, err
		}
		return true, t.endAt(c.size)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return false, ErrChanged
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return false, err
	default:
		// Between these filesystems it cannot; if the file is the reason, copying by
		// reading tells.
		d.noCopy.Store(true)
		return false, t.Truncate(0)
	}
}

// copier is a file that is copied as it is read, every byte once.
type copier struct {
	from *os.File
	to   *temp
	size int64
}

func (c copier) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.from.ReadAt(p, off)
	if off >= c.size {
		return n, err // only to see whether there is more
	}
	if err := c.to.writeSparse(p[:n], off); err != nil {
		return 0, err
	}
	return n, err
}

// writeSparse writes data at an offset and leaves holes for long runs of zeros.
func (t *temp) writeSparse(data []byte, off int64) error {
	if err := t.dir.step("write"); err != nil {
		return err
	}
	for len(data) > 0 {
		n := 0
		for n < len(data) && !isHole(data[n:]) {
			n += min(holeSize, len(data)-n)
		}
		if n > 0 {
			if _, err := t.WriteAt(data[:n], off); err != nil {
				return err
			}
		}
		for n < len(data) && isHole(data[n:]) {
			n += holeSize
		}
		data, off = data[n:], off+int64(n)
	}
	return nil
}

// isHole says whether data begins with a run of zeros that is worth a hole.
func isHole(data []byte) bool {
	return len(data) >= holeSize && bytes.Equal(data[:holeSize], zeros[:])
}

// endAt gives the file its size if a hole is its end. A file without one keeps the size that
// its data gives it: after a power failure that tells whether the data had been written.
func (t *temp) endAt(size int64) error {
	if err := t.dir.step("truncate"); err != nil {
		return err
	}
	info, err := t.Stat()
	if err != nil || info.Size() == size {
		return err
	}
	return t.Truncate(size)
}
