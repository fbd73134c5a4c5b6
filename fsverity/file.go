package fsverity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// ErrSize reports a file that has more or fewer bytes than it should.
var ErrSize = errors.New("file has another size than expected")

const (
	// segment is what one goroutine takes at a time, in bytes.
	segment = 1 << 20
	// window is how much of a file is given out before its hashes go into the Merkle tree, in
	// bytes: it bounds the memory for them.
	window = 256 * segment
	// parallelMin is from when on a file is worth several goroutines.
	parallelMin = 8 << 20
)

// FileOptions say how [File] computes a digest.
type FileOptions struct {
	Options
	Jobs int // goroutines for one large file; 0 means GOMAXPROCS
}

// File computes the digest of the first size bytes of r, which must be all: [ErrSize] reports
// more or fewer. Large files are read and hashed by several goroutines, each with a buffer of
// its own; each byte is read once. The kernel is not asked; see [Measure].
func File(ctx context.Context, r io.ReaderAt, size int64, opts FileOptions) (Digest, error) {
	if size < 0 {
		return Digest{}, fmt.Errorf("%w: %d bytes", ErrSize, size)
	}
	jobs := opts.Jobs
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	w, err := getWork(opts.Options)
	if err != nil {
		return Digest{}, err
	}
	defer putWork(w)
	if jobs > 1 && size >= parallelMin {
		err = w.parallel(ctx, r, size, jobs)
	} else {
		err = w.sequential(ctx, r, size)
	}
	if err == nil {
		err = atEnd(r, size)
	}
	if err != nil {
		return Digest{}, err
	}
	return w.Digest(), nil
}

// atEnd fails unless r ends at size.
func atEnd(r io.ReaderAt, size int64) error {
	var more [1]byte
	switch n, err := r.ReadAt(more[:], size); {
	case n > 0:
		return fmt.Errorf("%w: more than %d bytes", ErrSize, size)
	case err == nil || err == io.EOF:
		return nil
	default:
		return err
	}
}

// readFull reads len(p) bytes or fails, with ErrSize if r ends before.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	for done := 0; done < len(p); {
		n, err := r.ReadAt(p[done:], off+int64(done))
		done += n
		switch {
		case done == len(p):
		case err == io.EOF || (err == nil && n == 0):
			return fmt.Errorf("%w: only %d bytes", ErrSize, off+int64(done))
		case err != nil:
			return err
		}
	}
	return nil
}

func (w *work) sequential(ctx context.Context, r io.ReaderAt, size int64) error {
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf := w.buffer()[:min(readSize, size-off)]
		if err := readFull(r, buf, off); err != nil {
			return err
		}
		_, _ = w.Write(buf) // never fails
		off += int64(len(buf))
	}
	return nil
}

// parallel hashes the data blocks in segments, several at once, and the levels above from the
// hashes that come together.
func (w *work) parallel(ctx context.Context, r io.ReaderAt, size int64, jobs int) error {
	blocks := segment / w.alg.BlockSize()
	sums := make([]byte, 0, min(window/segment, size/segment+1)*int64(blocks*w.alg.Hash.Size()))
	for off := int64(0); off < size; {
		length := min(window, size-off)
		count := int((length-1)/int64(w.alg.BlockSize()) + 1)
		sums = sums[:count*w.alg.Hash.Size()]
		if err := w.window(ctx, r, off, length, sums, jobs); err != nil {
			return err
		}
		w.addSums(sums, length)
		off += length
	}
	return nil
}

// window computes the hashes of the blocks from off on.
func (w *work) window(ctx context.Context, r io.ReaderAt, off, length int64, sums []byte, jobs int) error {
	sumsPerSegment := int64(segment / w.alg.BlockSize() * w.alg.Hash.Size())
	segments := (length-1)/segment + 1
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range min(int64(jobs), segments) {
		group.Go(func() error {
			own, err := getWork(Options{w.alg, w.salt})
			if err != nil {
				return err
			}
			defer putWork(own)
			for i := next.Add(1) - 1; i < segments; i = next.Add(1) - 1 {
				to := sums[i*sumsPerSegment : i*sumsPerSegment]
				if err := own.blockSums(ctx, r, off+i*segment, min(segment, length-i*segment), to); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// blockSums appends the hashes of the blocks from off on, which is a multiple of the block
// size, to sums, which has room for them.
func (w *work) blockSums(ctx context.Context, r io.ReaderAt, off, length int64, sums []byte) error {
	bs := w.alg.BlockSize()
	for length > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf := w.buffer()[:min(readSize, length)]
		if err := readFull(r, buf, off); err != nil {
			return err
		}
		off, length = off+int64(len(buf)), length-int64(len(buf))
		whole := (len(buf) + bs - 1) / bs * bs
		clear(w.buf[len(buf):whole])
		sums = w.block.appendSums(sums, w.buf[:whole], bs)
	}
	return nil
}
