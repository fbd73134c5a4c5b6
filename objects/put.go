package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/go-composefs/composefs/fsverity"
)

const (
	// Files up to this size are read once into memory; larger ones are hashed first, and
	// read again only if the store lacks them.
	smallMax  = 1 << 20
	copyChunk = 1 << 20 // bytes
	// Runs of zeros of this many bytes become holes.
	holeSize = 64 << 10
)

var buffers = sync.Pool{New: func() any { return new([smallMax + 1]byte) }}

// Stored says what Put did.
type Stored struct {
	Digest   fsverity.Digest
	Existing bool // the store had the object
}

// Put stores the content of a regular file, which is open for reading and must have exactly
// size bytes, and returns its digest. If the file changes meanwhile, Put fails with
// [ErrChanged] and stores nothing. The object is durable after [Dir.Sync].
func (d *Dir) Put(ctx context.Context, f *os.File, size int64) (Stored, error) {
	if size > smallMax {
		return d.putLarge(ctx, f, size)
	}
	buf, _ := buffers.Get().(*[smallMax + 1]byte)
	defer buffers.Put(buf)
	// One byte more than there should be tells a file that has grown.
	n, err := f.ReadAt(buf[:size+1], 0)
	if err != nil && err != io.EOF {
		return Stored{}, err
	}
	if int64(n) != size {
		return Stored{}, fmt.Errorf("%w: its size is not %d bytes any more", ErrChanged, size)
	}
	return d.PutBytes(ctx, buf[:size])
}

// PutBytes stores data.
func (d *Dir) PutBytes(ctx context.Context, data []byte) (Stored, error) {
	digest, err := fsverity.Sum(d.opts.Algorithm, data)
	if err != nil {
		return Stored{}, err
	}
	same := func(object *os.File) (bool, error) { return equalBytes(object, data) }
	state, err := d.look(ctx, digest, int64(len(data)), same)
	if err != nil || state == present {
		return Stored{digest, true}, err
	}
	err = d.create(digest, state == broken, func(temp *os.File) error {
		_, err := temp.Write(data)
		return err
	})
	return Stored{digest, false}, err
}

func (d *Dir) putLarge(ctx context.Context, f *os.File, size int64) (Stored, error) {
	digest, err := fsverity.File(ctx, f, size, d.hashing())
	if errors.Is(err, fsverity.ErrSize) {
		return Stored{}, fmt.Errorf("%w: %w", ErrChanged, err)
	}
	if err != nil {
		return Stored{}, err
	}
	same := func(object *os.File) (bool, error) { return equalFiles(ctx, object, f, size) }
	state, err := d.look(ctx, digest, size, same)
	if err != nil || state == present {
		return Stored{digest, true}, err
	}
	err = d.create(digest, state == broken, func(temp *os.File) error {
		return d.fill(ctx, temp, f, size, digest)
	})
	return Stored{digest, false}, err
}

// fill copies f to an empty file, sharing its blocks where the filesystem can. The digest is
// taken again, of what was copied: f may have changed since.
func (d *Dir) fill(ctx context.Context, temp, f *os.File, size int64, want fsverity.Digest) error {
	if d.clone(temp, f) {
		got, err := fsverity.File(ctx, temp, size, d.hashing())
		if errors.Is(err, fsverity.ErrSize) || (err == nil && got != want) {
			return ErrChanged
		}
		return err
	}
	h, err := fsverity.NewHasher(fsverity.Options{Algorithm: d.opts.Algorithm})
	if err != nil {
		return err
	}
	buf := make([]byte, min(copyChunk, size))
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if n == 0 {
			if err == nil || err == io.EOF {
				return ErrChanged
			}
			return err
		}
		if _, err := h.Write(buf[:n]); err != nil {
			return err
		}
		if err := writeSparse(temp, buf[:n], off); err != nil {
			return err
		}
		off += int64(n)
	}
	if err := temp.Truncate(size); err != nil {
		return err
	}
	if h.Digest() != want {
		return ErrChanged
	}
	return nil
}

var zeros [holeSize]byte

// writeSparse writes data at an offset and leaves holes for long runs of zeros.
func writeSparse(f *os.File, data []byte, off int64) error {
	for len(data) > 0 {
		n := min(holeSize, len(data))
		if !bytes.Equal(data[:n], zeros[:n]) {
			for n < len(data) {
				k := min(holeSize, len(data)-n)
				if bytes.Equal(data[n:n+k], zeros[:k]) {
					break
				}
				n += k
			}
			if _, err := f.WriteAt(data[:n], off); err != nil {
				return err
			}
		}
		data, off = data[n:], off+int64(n)
	}
	return nil
}

// state is what look finds under an object's name.
type state int

const (
	absent state = iota
	present
	broken // something else is there
)

// look tells whether the store has an object, and whether it is good: by the kernel's word if
// it has fs-verity, else by comparing it with the data to be stored.
func (d *Dir) look(ctx context.Context, digest fsverity.Digest, size int64, same func(*os.File) (bool, error)) (state, error) {
	if _, known := d.checked.Load(digest); known {
		return present, nil
	}
	info, err := d.Stat(digest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return absent, nil
	case err != nil:
		return absent, err
	case !info.Mode().IsRegular() || info.Size() != size:
		return broken, nil
	case d.opts.TrustExisting && d.opts.Verity == VerityOff:
		return present, nil
	}
	f, err := d.openExisting(digest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return absent, nil
	case err != nil:
		return broken, nil //nolint:nilerr // what cannot be read is replaced
	}
	defer f.Close()
	if !d.noVerity.Load() {
		measured, err := fsverity.Measure(f)
		switch {
		case err == nil && measured == digest:
			d.checked.Store(digest, nil)
			return present, nil
		case err == nil:
			return broken, nil
		case !errors.Is(err, fsverity.ErrNoVerity):
			return absent, err
		}
	}
	if !d.opts.TrustExisting || d.opts.Verity != VerityOff {
		if ok, err := same(f); err != nil || !ok {
			return broken, err
		}
	}
	if err := d.enableVerity(f); err != nil {
		return absent, err
	}
	d.checked.Store(digest, nil)
	return present, ctx.Err()
}

// enableVerity protects a complete object that is open for reading.
func (d *Dir) enableVerity(f *os.File) error {
	if d.opts.Verity == VerityOff || (d.opts.Verity == VerityTry && d.noVerity.Load()) {
		return nil
	}
	err := fsverity.Enable(f, fsverity.EnableOptions{Options: fsverity.Options{Algorithm: d.opts.Algorithm}})
	switch {
	case err == nil || errors.Is(err, fsverity.ErrAlreadyEnabled):
		return nil
	case errors.Is(err, fsverity.ErrNoVerity):
		d.noVerity.Store(true)
	}
	if d.opts.Verity == VerityTry {
		return nil
	}
	return err
}

func equalBytes(f *os.File, want []byte) (bool, error) {
	buf, _ := buffers.Get().(*[smallMax + 1]byte)
	defer buffers.Put(buf)
	n, err := f.ReadAt(buf[:len(want)+1], 0)
	if err != nil && err != io.EOF {
		return false, nil //nolint:nilerr // what cannot be read is replaced
	}
	return bytes.Equal(buf[:n], want), nil
}

// equalFiles compares the first size bytes of an object with those of a file.
func equalFiles(ctx context.Context, object, f *os.File, size int64) (bool, error) {
	a, _ := buffers.Get().(*[smallMax + 1]byte)
	defer buffers.Put(a)
	b, _ := buffers.Get().(*[smallMax + 1]byte)
	defer buffers.Put(b)
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n := int(min(int64(len(a)), size-off))
		if k, err := object.ReadAt(a[:n], off); k < n {
			return false, nil //nolint:nilerr // what cannot be read is replaced
		} else if err != nil && err != io.EOF {
			return false, err
		}
		if k, err := f.ReadAt(b[:n], off); k < n {
			if err == io.EOF {
				return false, ErrChanged
			}
			return false, err
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return false, nil
		}
		off += int64(n)
	}
	return true, nil
}
