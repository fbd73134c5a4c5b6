package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/go-composefs/composefs/fsverity"
)

// Files up to smallMax bytes are read once into memory; larger ones are hashed first, and then
// read again to be compared or copied.
const smallMax = 4 << 20

// buffers are for small files and for pieces of streams. The byte more tells that a file is longer
// than it should be.
var buffers = sync.Pool{New: func() any { return new([smallMax + 1]byte) }}

func getBuffer() *[smallMax + 1]byte {
	buf, _ := buffers.Get().(*[smallMax + 1]byte)
	return buf
}

// Stored says what Put did.
type Stored struct {
	Digest   fsverity.Digest
	Existing bool // the store had the object, or another one has it
}

// Put stores the content of a regular file, which is open for reading and must have exactly
// size bytes, and returns its digest. The file's offset is neither used nor moved. If the file
// changes meanwhile, Put fails with [ErrChanged] and stores nothing. The object is durable after
// [Dir.Sync].
func (d *Dir) Put(ctx context.Context, f *os.File, size int64) (Stored, error) {
	if size > smallMax || size < 0 {
		return d.putLarge(ctx, f, size)
	}
	buf := getBuffer()
	defer buffers.Put(buf)
	n, err := readOnce(f, buf[:size+1], int(size))
	if err != nil {
		return Stored{}, err
	}
	if int64(n) != size {
		return Stored{}, fmt.Errorf("%w: its size is not %d bytes any more", ErrChanged, size)
	}
	digest, err := fsverity.Sum(d.opts.Algorithm, buf[:size])
	if err != nil {
		return Stored{}, err
	}
	if d.opts.Link {
		return d.put(ctx, digest, content{file: f, size: size})
	}
	return d.put(ctx, digest, content{data: buf[:size], size: size})
}

// PutBytes stores data, which must not change meanwhile.
func (d *Dir) PutBytes(ctx context.Context, data []byte) (Stored, error) {
	digest, err := fsverity.Sum(d.opts.Algorithm, data)
	if err != nil {
		return Stored{}, err
	}
	return d.put(ctx, digest, content{data: data, size: int64(len(data))})
}

func (d *Dir) putLarge(ctx context.Context, f *os.File, size int64) (Stored, error) {
	digest, err := fsverity.File(ctx, f, size, d.hashing(d.opts.Algorithm.Hash))
	if err != nil {
		return Stored{}, changed(err)
	}
	return d.put(ctx, digest, content{file: f, size: size})
}

// changed says ErrChanged where the fsverity package says ErrSize.
func changed(err error) error {
	if errors.Is(err, fsverity.ErrSize) {
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	return err
}

// content is what an object should have: data or a file.
type content struct {
	data []byte
	file *os.File
	size int64
}

// put stores content whose digest is known.
func (d *Dir) put(ctx context.Context, digest fsverity.Digest, c content) (Stored, error) {
	if err := ctx.Err(); err != nil {
		return Stored{}, err
	}
	state, err := d.claim(ctx, digest, c)
	if err != nil {
		return Stored{}, err
	}
	if state == present {
		return Stored{digest, true}, nil
	}
	if d.opts.Link && c.file != nil && state == absent {
		if linked, err := d.link(ctx, c.file, digest); err != nil || linked {
			return Stored{Digest: digest}, err
		}
	}
	t, err := d.newTemp(digest)
	if err != nil {
		return Stored{}, fmt.Errorf("create object: %w", err)
	}
	defer t.drop()
	if err := d.fill(ctx, t, c, digest); err != nil {
		return Stored{}, fmt.Errorf("write object: %w", err)
	}
	return d.finish(ctx, t, digest, state == broken)
}

// claim claims an object and tells whether it needs to be stored: one that another store has is
// as good as present.
func (d *Dir) claim(ctx context.Context, digest fsverity.Digest, c content) (state, error) {
	if d.opts.Claim != nil {
		if err := d.opts.Claim(digest); err != nil {
			return absent, err
		}
	}
	state, err := d.look(ctx, digest, c)
	if err != nil || state != absent || d.opts.Elsewhere == nil {
		return state, err
	}
	elsewhere, err := d.opts.Elsewhere(digest, c.size)
	if elsewhere {
		state = present
	}
	return state, err
}

// PutReader stores everything that can be read from r. It is read once: more than a mebibyte
// of data goes into the store before it is known whether the store has it already.
func (d *Dir) PutReader(ctx context.Context, r io.Reader) (Stored, error) {
	buf := getBuffer()
	defer buffers.Put(buf)
	n, err := readUpTo(r, buf[:])
	if err != nil {
		return Stored{}, err
	}
	if n < len(buf) {
		return d.PutBytes(ctx, buf[:n])
	}
	h, err := fsverity.NewHasher(fsverity.Options{Algorithm: d.opts.Algorithm})
	if err != nil {
		return Stored{}, err
	}
	// It moves to its directory when its name is known.
	t, err := d.newTemp(fsverity.Digest{})
	if err != nil {
		return Stored{}, fmt.Errorf("create object: %w", err)
	}
	defer t.drop()
	size := int64(0)
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return Stored{}, err
		}
		_, _ = h.Write(buf[:n]) // never fails
		if err := t.writeSparse(buf[:n], size); err != nil {
			return Stored{}, fmt.Errorf("write object: %w", err)
		}
		size += int64(n)
		if n < smallMax {
			break
		}
		if n, err = readUpTo(r, buf[:smallMax]); err != nil {
			return Stored{}, err
		}
	}
	if err := t.endAt(size); err != nil {
		return Stored{}, fmt.Errorf("write object: %w", err)
	}
	digest := h.Digest()
	state, err := d.claim(ctx, digest, content{file: t.File, size: size})
	if err != nil {
		return Stored{}, err
	}
	if state == present {
		return Stored{digest, true}, nil
	}
	return d.finish(ctx, t, digest, state == broken)
}

// readUpTo reads until buf is full or r has ended. [io.ReadFull] could not tell an end from the
// io.ErrUnexpectedEOF of a connection that broke.
func readUpTo(r io.Reader, buf []byte) (int, error) {
	n := 0
	for n < len(buf) {
		k, err := r.Read(buf[n:])
		n += k
		if err == io.EOF {
			break
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
