package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
)

const (
	// readSize is up to how many bytes an object is read in one piece.
	readSize = 1 << 20
	// largeObject is from how many bytes on one object is hashed by several goroutines.
	largeObject = 16 << 20
	// stateInterval is how often it is noted how far a check is.
	stateInterval = 5 * time.Second
)

// scrub reads the content of all objects, those of one directory after the other.
func (c *checker) scrub(ctx context.Context) error {
	state := c.resume()
	for _, digest := range state.Bad {
		// What was found before is still so, or it was mended meanwhile.
		if _, err := c.scrubOne(ctx, c.r.objects, digest); err != nil {
			return err
		}
	}
	saved := time.Now()
	for i := state.Next; i < len(c.set.start)-1; i++ {
		before := c.stateAt(i)
		switch err := c.scrubRange(ctx, c.set.start[i], c.set.start[i+1]); {
		case ctx.Err() != nil:
			return errors.Join(ctx.Err(), c.saveState(before))
		case err != nil:
			return err
		case time.Since(saved) > stateInterval:
			if err := c.saveState(c.stateAt(i + 1)); err != nil {
				return err
			}
			saved = time.Now()
		}
	}
	return nil
}

// scrubRange reads objects of the set.
func (c *checker) scrubRange(ctx context.Context, from, to int) error {
	var next atomic.Int64
	next.Store(int64(from))
	g, ctx := errgroup.WithContext(ctx)
	for range min(c.opts.jobs(), to-from) {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= to {
					return nil
				}
				size, err := c.scrubOne(ctx, c.r.objects, c.set.digest(i))
				if err != nil {
					return err
				}
				c.sizes[i].Store(size + 1)
			}
		})
	}
	return g.Wait()
}

// scrubElsewhere reads the objects that the repository needs and only other stores have.
func (c *checker) scrubElsewhere(ctx context.Context) error {
	for digest := range c.elsewhere {
		for _, store := range c.r.stores {
			if store.dir == nil {
				continue
			}
			if ok, err := store.dir.Has(digest); err != nil || !ok {
				continue // need has looked at it: it changed meanwhile
			}
			if _, err := c.scrubOne(ctx, store.dir, digest); err != nil {
				return err
			}
			c.sayStore(digest, store.path)
			break
		}
	}
	return nil
}

// sayStore says of a problem that the object is another store's.
func (c *checker) sayStore(digest fsverity.Digest, store string) {
	if i, ok := c.bad[digest]; ok {
		p := &c.result.Problems[i]
		p.Path = store + "/" + digest.ObjectPath()
	}
}

// scrubOne reads an object, compares it with its name, and returns its size, or -1 if it is not
// there any more.
func (c *checker) scrubOne(ctx context.Context, dir *objects.Dir, digest fsverity.Digest) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	f, err := dir.OpenObject(digest)
	if gone(err) {
		return -1, nil // if it is needed that is told
	}
	if isShort(err) {
		return 0, err
	}
	if err != nil {
		c.foundObject(ProblemObject, digest, "it cannot be opened: %v", err)
		return -1, nil
	}
	defer f.Close()
	if c.opts.FromDisk {
		if err := dropCached(f); err != nil {
			return 0, fmt.Errorf("read from disk: %w", err)
		}
	}
	size, got, err := c.digest(ctx, f, digest.Hash())
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err != nil:
		c.foundObject(ProblemObject, digest, "it cannot be read: %v", err)
	case got != digest:
		c.foundObject(ProblemObject, digest, "its content has the digest %s", got)
	default:
		c.checkVerity(f, digest)
	}
	c.mu.Lock()
	c.result.Read++
	c.result.Bytes += size
	c.mu.Unlock()
	if c.opts.Progress != nil {
		c.opts.Progress.Add(1, 0)
	}
	return size, nil
}

// isShort says whether an error is that the process or machine is short of something, which says nothing
// about an object.
func isShort(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// checkVerity looks whether the kernel verifies a good object by its digest.
func (c *checker) checkVerity(f *os.File, digest fsverity.Digest) {
	if !c.r.verity && !c.opts.RequireVerity {
		return
	}
	switch got, err := fsverity.Measure(f); {
	case errors.Is(err, fsverity.ErrNoVerity):
		c.foundObject(ProblemVerity, digest, "it has no fs-verity")
	case err != nil:
		c.foundObject(ProblemVerity, digest, "its fs-verity cannot be asked for: %v", err)
	case got != digest:
		c.foundObject(ProblemVerity, digest, "the kernel verifies it by the digest %s", got)
	}
}

// readBuffers are for objects that are read in one piece.
var readBuffers = sync.Pool{New: func() any { return new([readSize]byte) }}

// digest returns the size and digest of a file.
func (c *checker) digest(ctx context.Context, f *os.File, hash fsverity.Hash) (int64, fsverity.Digest, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, fsverity.Digest{}, err
	}
	size := info.Size()
	alg := fsverity.Algorithm{Hash: hash, BlockBits: c.r.meta.Algorithm.BlockBits}
	r := slowReader{ctx, f, c}
	if size >= readSize {
		opts := fsverity.FileOptions{Options: fsverity.Options{Algorithm: alg}, Jobs: 1}
		if size >= largeObject {
			opts.Jobs = c.opts.jobs()
		}
		got, err := fsverity.File(ctx, r, size, opts)
		return size, got, err
	}
	buf, _ := readBuffers.Get().(*[readSize]byte)
	defer readBuffers.Put(buf)
	n, err := r.ReadAt(buf[:size], 0)
	if err == nil || errors.Is(err, io.EOF) && int64(n) == size {
		got, err := fsverity.Sum(alg, buf[:n])
		return size, got, err
	}
	return size, fsverity.Digest{}, err
}

// slowReader reads a file no faster than the check may, and counts what it reads.
type slowReader struct {
	ctx context.Context
	f   *os.File
	c   *checker
}

func (r slowReader) ReadAt(p []byte, off int64) (int, error) {
	if limit := r.c.limit; limit != nil {
		for left := len(p); left > 0; {
			n := min(left, limit.Burst())
			if err := limit.WaitN(r.ctx, n); err != nil {
				return 0, err
			}
			left -= n
		}
	}
	n, err := r.f.ReadAt(p, off)
	if progress := r.c.opts.Progress; progress != nil {
		progress.Add(0, int64(n))
	}
	return n, err
}
