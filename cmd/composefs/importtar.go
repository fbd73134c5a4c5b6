package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/objects"
	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/splitstream"
)

// standardInput is how a command line names it.
const standardInput = "-"

// tarSource is a tar.
type tarSource struct {
	c    *importCommand
	app  *app
	file *os.File
	used bool // it has been read from
}

// isTar says whether a file is one: also a pipe, in which nobody can look ahead, and which no image is
// read from.
func isTar(f *os.File, info os.FileInfo) (bool, error) {
	if !info.Mode().IsRegular() {
		return true, nil
	}
	var begin [512]byte
	n, err := f.ReadAt(begin[:], 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return layer.Detect(begin[:n]), err
}

func (s *tarSource) Close() error {
	if s.file == s.app.in {
		return nil
	}
	return s.file.Close()
}

func (s *tarSource) put(ctx context.Context, to importTarget) (imported, error) {
	if s.used {
		if _, err := s.file.Seek(0, io.SeekStart); err != nil {
			return imported{}, fmt.Errorf("%w, and %s can be read only once", repository.ErrCollected, s.c.sourceName())
		}
	}
	s.used = true
	opts := layer.Options{Store: to.sink, Progress: to.meter, Jobs: s.c.scan.Jobs}
	if s.c.keepTar {
		opts.Stream = to.NewStream(splitstream.Layer)
		defer opts.Stream.Close()
	}
	l, err := layer.Read(ctx, interruptible{ctx, s.file}, opts)
	if err != nil {
		return imported{}, fmt.Errorf("%s: %w", s.c.sourceName(), err)
	}
	s.remark(l)
	s.c.scan.apply(l.Root)
	meta := to.repo.Meta()
	done := imported{format: meta.Format(), root: l.Root}
	if s.c.keepTar {
		if err := s.keep(ctx, to, l, opts.Stream); err != nil {
			return imported{}, err
		}
	}
	done.digest, err = to.PutTree(ctx, l.Root)
	return done, err
}

// keep keeps the tar itself, under the name that composefs-rs has for layers.
func (s *tarSource) keep(ctx context.Context, to importTarget, l *layer.Layer, w *splitstream.Writer) error {
	id := fmt.Sprintf("oci-layer-sha256:%x", l.DiffID)
	if _, err := to.PutStream(ctx, id, w); err != nil {
		return err
	}
	for _, name := range s.c.names {
		if err := to.TagStream(name, id); err != nil {
			return err
		}
	}
	return nil
}

// remark says what may not be as the user thinks.
func (s *tarSource) remark(l *layer.Layer) {
	if l.NoEnd {
		s.app.remark("note: %s does not end as a tar does: it may have been cut short", s.c.sourceName())
	}
	for _, key := range slices.Sorted(maps.Keys(l.Ignored)) {
		s.app.remark("note: %s of %s left out: only --xattrs of tar(1) records it in a form that a tree has",
			key, counted(l.Ignored[key], "file"))
	}
}

// sourceName is what messages call the source.
func (c *importCommand) sourceName() string {
	if c.source == standardInput {
		return "standard input"
	}
	return c.source
}

// interruptible reads until a context is done.
type interruptible struct {
	ctx context.Context //nolint:containedctx // that of one call of put
	r   io.Reader
}

func (r interruptible) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// PutBytes makes a countingSink a [layer.Store].
func (s *countingSink) PutBytes(ctx context.Context, data []byte) (objects.Stored, error) {
	stored, err := s.dir.PutBytes(ctx, data)
	s.count(stored, int64(len(data)), err)
	return stored, err
}

// PutReader is the other half of that.
func (s *countingSink) PutReader(ctx context.Context, r io.Reader) (objects.Stored, error) {
	counted := &countingReader{r: r}
	stored, err := s.dir.PutReader(ctx, counted)
	s.count(stored, counted.n, err)
	return stored, err
}

type countingReader struct {
	r io.Reader
	n int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n += int64(n)
	return n, err
}
