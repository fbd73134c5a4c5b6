package tardiff

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
)

// creator reads the new tar for the second time and makes operations of it: one goroutine reads, several compare, one
// writes, in the order of the tar.
type creator struct {
	opts    CreateOptions
	old     OldFiles
	list    *newTarList
	sources []source // of the files of list
	out     *emitter
	stats   *Stats

	order chan piece
	jobs  chan *job
	room  chan struct{} // holds one value for each job whose bytes are in memory
}

// piece is a part of the new tar: literal bytes, an old file's content, or what a job finds out.
type piece struct {
	literal []byte
	same    string // the old file's path
	size    int64  // of its content
	job     *job
}

// job is a part of a new file that is compared with a part of an old one.
type job struct {
	path    string
	fresh   []byte
	at, end int64 // the old part
	old     []byte
	regions []region
	err     error
	done    chan struct{}
}

func (c *creator) run(ctx context.Context, newTar Tar) error {
	c.order = make(chan piece, 64)
	c.jobs = make(chan *job)
	c.room = make(chan struct{}, c.opts.Jobs+1)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(c.order)
		defer close(c.jobs)
		return c.read(ctx, newTar)
	})
	for range c.opts.Jobs {
		g.Go(func() error {
			scratch := &index{}
			for j := range c.jobs {
				j.err = j.compare(ctx, c.old, scratch)
				close(j.done)
			}
			return nil
		})
	}
	g.Go(func() error { return c.write(ctx) })
	return g.Wait()
}

// read cuts the tar into pieces.
func (c *creator) read(ctx context.Context, newTar Tar) error {
	r, err := newTar(ctx)
	if err != nil {
		return fmt.Errorf("open tar again: %w", err)
	}
	defer r.Close()
	in := &tarInput{ctx: ctx, r: r, hash: sha256.New()}
	for i := range c.list.files {
		f, s := &c.list.files[i], c.sources[i]
		if err := c.literal(ctx, in, f.start-in.n); err != nil {
			return err
		}
		switch {
		case s.old == nil:
			c.stats.New++ // its content goes with what comes next
			continue
		case s.identical:
			c.stats.Identical++
			if _, err := io.CopyN(io.Discard, in, f.size); err != nil {
				return tarError(in, err)
			}
			err = c.send(ctx, piece{same: s.old.Path, size: f.size})
		default:
			c.stats.Changed++
			err = c.changed(ctx, in, f, s.old)
		}
		if err != nil {
			return err
		}
	}
	if err := c.literal(ctx, in, c.list.size-in.n); err != nil {
		return err
	}
	if n, err := in.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return tarError(in, errTarChanged)
	}
	if contentDigest(in.hash.Sum(nil)) != c.list.digest {
		return errTarChanged
	}
	return nil
}

// tarError tells a tar that cannot be read from one that has changed.
func tarError(in *tarInput, err error) error {
	if in.err != nil {
		return in.err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errTarChanged
	}
	return err
}

func (c *creator) send(ctx context.Context, p piece) error {
	select {
	case c.order <- p:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// literal sends the next n bytes as they are.
func (c *creator) literal(ctx context.Context, in *tarInput, n int64) error {
	for n > 0 {
		p := make([]byte, min(n, chunk))
		if _, err := io.ReadFull(in, p); err != nil {
			return tarError(in, err)
		}
		if err := c.send(ctx, piece{literal: p}); err != nil {
			return err
		}
		n -= int64(len(p))
	}
	return nil
}

// changed sends the content of a file in windows, each to be compared with the part of the old file around the same place, or
// where that is if the file grew or shrank evenly.
func (c *creator) changed(ctx context.Context, in *tarInput, f *newFile, old *OldFile) error {
	window := int64(c.opts.Window)
	for at := int64(0); at < f.size; {
		select {
		case c.room <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		n := min(window, f.size-at)
		j := &job{path: old.Path, fresh: make([]byte, n), done: make(chan struct{})}
		middle := int64(float64(old.Size) * (float64(at) + float64(n)/2) / float64(f.size))
		j.at = max(0, min(middle-window, old.Size-2*window))
		j.end = min(j.at+2*window, old.Size)
		if _, err := io.ReadFull(in, j.fresh); err != nil {
			return tarError(in, err)
		}
		select {
		case c.jobs <- j:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := c.send(ctx, piece{job: j}); err != nil {
			return err
		}
		at += n
	}
	return nil
}

// compare reads the old part and compares it.
func (j *job) compare(ctx context.Context, old OldFiles, scratch *index) error {
	return readOld(ctx, old, j.path, func(r *io.SectionReader) error {
		j.old = make([]byte, j.end-j.at)
		if _, err := io.ReadFull(io.NewSectionReader(r, j.at, j.end-j.at), j.old); err != nil {
			return err
		}
		j.regions = compare(j.old, j.fresh, scratch)
		return nil
	})
}

// write writes the operations for the pieces.
func (c *creator) write(ctx context.Context) error {
	for p := range c.order {
		var err error
		switch {
		case p.job != nil:
			select {
			case <-p.job.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err = p.job.err; err == nil {
				err = c.regions(p.job)
			}
			<-c.room
		case p.same != "":
			err = c.out.copy(p.same, 0, p.size)
		default:
			err = c.out.literal(p.literal)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// minCopy is how many equal bytes in a row are copied rather than added; in between they compress to nearly nothing.
const minCopy = 1 << 10

// regions writes what a job found out.
func (c *creator) regions(j *job) error {
	fresh := j.fresh
	for _, r := range j.regions {
		old := j.old[max(0, min(r.old, len(j.old))):]
		if r.added > 0 {
			if err := c.sum(j.path, j.at+int64(r.old), fresh[:r.added], old[:r.added]); err != nil {
				return err
			}
		}
		if err := c.out.literal(fresh[r.added : r.added+r.data]); err != nil {
			return err
		}
		fresh = fresh[r.added+r.data:]
	}
	return nil
}

// sum writes bytes that resemble the old ones at a place. The fresh bytes are lost.
func (c *creator) sum(path string, at int64, fresh, old []byte) error {
	for len(fresh) > 0 {
		equal := matchLen(fresh, old)
		if equal >= minCopy || equal == len(fresh) {
			if err := c.out.copy(path, at, int64(equal)); err != nil {
				return err
			}
		} else {
			for n := 0; equal < len(fresh) && n < minCopy; {
				// What differs, and what is equal after it.
				equal++
				n = matchLen(fresh[equal:], old[equal:])
				if n < minCopy {
					equal += n
				}
			}
			subtract(fresh[:equal], old[:equal])
			if err := c.out.add(path, at, fresh[:equal]); err != nil {
				return err
			}
		}
		fresh, old, at = fresh[equal:], old[equal:], at+int64(equal)
	}
	return nil
}

// subtract takes each byte of b off that of a, modulo 256.
func subtract(a, b []byte) {
	for i := range a {
		a[i] -= b[i]
	}
}
