package fsverity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// ErrSize reports a file that has more or fewer bytes than it should.
var ErrSize = errors.New("file has another size than expected")

const (
	readSize = 128 << 10 // bytes; a multiple of every block size
	// segment is what one goroutine takes at a time, in bytes.
	segment = 1 << 20
	// parallelMin is from when on a file is worth several goroutines.
	parallelMin = 8 << 20
)

// FileOptions say how [File] computes a digest.
type FileOptions struct {
	Options
	Jobs int // goroutines for one large file; 0 means GOMAXPROCS
}

// hashers are free Hashers for SHA-256 without salt, with a buffer each.
var hashers = sync.Pool{New: func() any {
	h, err := NewHasher(Options{})
	if err != nil {
		panic("fsverity: " + err.Error())
	}
	return &pooled{Hasher: h, buf: make([]byte, readSize)}
}}

type pooled struct {
	*Hasher
	buf []byte
}

// Sum returns the digest of data.
func Sum(alg Algorithm, data []byte) (Digest, error) {
	if alg == SHA256 || alg == (Algorithm{}) {
		p, _ := hashers.Get().(*pooled)
		defer hashers.Put(p)
		p.Reset()
		if _, err := p.Write(data); err != nil {
			return Digest{}, err
		}
		return p.finish(), nil
	}
	h, err := NewHasher(Options{Algorithm: alg})
	if err != nil {
		return Digest{}, err
	}
	if _, err := h.Write(data); err != nil {
		return Digest{}, err
	}
	return h.finish(), nil
}

// File computes the digest of the first size bytes of r, which must be all: [ErrSize] reports
// more or fewer. Large files are read and hashed by several goroutines, each with a buffer of
// its own. The kernel is not asked; see [Measure].
func File(ctx context.Context, r io.ReaderAt, size int64, opts FileOptions) (Digest, error) {
	jobs := opts.Jobs
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	var d Digest
	var err error
	if jobs > 1 && size >= parallelMin {
		d, err = parallel(ctx, r, size, opts.Options, jobs)
	} else {
		d, err = sequential(ctx, r, size, opts.Options)
	}
	if err != nil {
		return Digest{}, err
	}
	var more [1]byte
	if n, err := r.ReadAt(more[:], size); n > 0 {
		return Digest{}, fmt.Errorf("%w: more than %d bytes", ErrSize, size)
	} else if err != nil && err != io.EOF {
		return Digest{}, err
	}
	return d, nil
}

func sequential(ctx context.Context, r io.ReaderAt, size int64, opts Options) (Digest, error) {
	p, _ := hashers.Get().(*pooled)
	defer hashers.Put(p)
	h := p.Hasher
	if (opts.Algorithm != SHA256 && opts.Algorithm != (Algorithm{})) || len(opts.Salt) > 0 {
		var err error
		if h, err = NewHasher(opts); err != nil {
			return Digest{}, err
		}
	}
	h.Reset()
	if err := hashRange(ctx, h, p.buf, r, 0, size); err != nil {
		return Digest{}, err
	}
	return h.finish(), nil
}

// hashRange writes the bytes from off to end to h.
func hashRange(ctx context.Context, h *Hasher, buf []byte, r io.ReaderAt, off, end int64) error {
	for off < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.ReadAt(buf[:min(int64(len(buf)), end-off)], off)
		if n == 0 {
			if err == nil || err == io.EOF {
				return fmt.Errorf("%w: only %d bytes", ErrSize, off)
			}
			return err
		}
		if _, err := h.Write(buf[:n]); err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// parallel hashes the data blocks in segments, several at once, and the levels above from the
// hashes that come together.
func parallel(ctx context.Context, r io.ReaderAt, size int64, opts Options, jobs int) (Digest, error) {
	h, err := NewHasher(opts)
	if err != nil {
		return Digest{}, err
	}
	sums := make([][]byte, (size+segment-1)/segment) // of each segment's blocks
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range min(jobs, len(sums)) {
		group.Go(func() error {
			buf := make([]byte, readSize)
			for {
				i := next.Add(1) - 1
				if i >= int64(len(sums)) {
					return nil
				}
				var err error
				sums[i], err = h.blockSums(ctx, buf, r, i*segment, min((i+1)*segment, size))
				if err != nil {
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return Digest{}, err
	}
	for _, s := range sums {
		for n := h.alg.Hash.Size(); len(s) > 0; s = s[n:] {
			h.pushSum(1, s[:n])
		}
	}
	h.size = uint64(size)
	return h.digest(h.root(1)), nil
}

// blockSums returns the hashes of the blocks between two offsets, the first of which is a
// multiple of the block size. It may be called by several goroutines at once.
func (h *Hasher) blockSums(ctx context.Context, buf []byte, r io.ReaderAt, off, end int64) ([]byte, error) {
	bs := h.alg.BlockSize()
	sums := make([]byte, 0, segment/bs*h.alg.Hash.Size())
	for off < end {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		want := int(min(int64(len(buf)), end-off))
		if n, err := r.ReadAt(buf[:want], off); n < want {
			if err == io.EOF {
				return nil, fmt.Errorf("%w: only %d bytes", ErrSize, off+int64(n))
			}
			return nil, err
		}
		clear(buf[want:min(len(buf), (want+bs-1)/bs*bs)])
		for block := 0; block < want; block += bs {
			sums = h.appendSum(sums, buf[block:block+bs])
		}
		off += int64(want)
	}
	return sums, nil
}
