package oci

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/objects"
	"github.com/go-composefs/composefs/splitstream"
)

// Segment is a part of a layer's tar: bytes, or all of a regular file's content as a file of this machine,
// which the repository shares blocks with where the filesystem can.
type Segment struct {
	Data []byte   // whoever takes the segment has it
	File *os.File // nil for bytes; whoever takes the segment closes it
	Size int64    // of the file's content, in bytes
	// Content is the file's from its beginning, and fails at the end if the file has changed; nil: nobody can
	// tell, but by the diff_id.
	Content io.Reader
}

// SegmentSource is a [transport.Source] that has layers as files.
type SegmentSource interface {
	// Segments returns the tar of a layer in parts.
	Segments(ctx context.Context, diffID digest.Digest) iter.Seq2[Segment, error]
}

// segmentsAhead is how many files may be open and waiting for those before them.
const segmentsAhead = 64

// maxRun is how many inline bytes are gathered before they become a chunk without a file behind them.
// composefs-rs cannot read headers of one entry that two chunks share, and where those end only a tar
// reader knows; there are not as many bytes between two files but in a tar of nothing else.
const maxRun = 32 << 20

// readSegments puts the stream of a layer that is files.
func (p *puller) readSegments(ctx context.Context, from SegmentSource, l Layer) (fsverity.Digest, error) {
	stream := p.tx.NewStream(splitstream.Layer)
	defer stream.Close()
	a := &assembly{
		stream: stream, hash: l.DiffID.Algorithm().Hash(), store: &countingStore{Dir: p.tx.Objects(), p: p},
		limit: p.opts.Limits.LayerSize, order: make(chan *part, segmentsAhead), progress: func(n int) { p.opts.Progress.Add(l.Digest, n) },
	}
	if err := a.read(ctx, from.Segments(ctx, l.DiffID)); err != nil {
		return fsverity.Digest{}, err
	}
	if err := l.checkTar(a.hash.Sum(nil)); err != nil {
		return fsverity.Digest{}, err
	}
	return p.tx.PutStream(ctx, l.Stream, stream)
}

// assembly makes a stream of segments: files are stored several at a time, and written in order.
type assembly struct {
	stream   *splitstream.Writer
	hash     hash.Hash
	store    *countingStore
	limit    int64 // bytes that may still come
	order    chan *part
	progress func(int)
	run      []byte
}

// part is a segment on its way.
type part struct {
	Segment
	digest fsverity.Digest
	done   chan struct{} // closed when the file is stored; nil for bytes
}

func (a *assembly) read(ctx context.Context, segments iter.Seq2[Segment, error]) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	written := make(chan error, 1)
	go func() { written <- a.write() }()
	err := a.take(ctx, g, segments)
	err = errors.Join(err, g.Wait())
	close(a.order)
	return errors.Join(err, <-written)
}

// take starts storing what comes.
func (a *assembly) take(ctx context.Context, g *errgroup.Group, segments iter.Seq2[Segment, error]) error {
	for s, err := range segments {
		if err != nil {
			return err
		}
		size := s.Size
		if s.File == nil {
			size = int64(len(s.Data))
		}
		if a.limit -= size; a.limit < 0 {
			err = fmt.Errorf("%w: a tar that is too large", ErrLimit)
		} else if s.File != nil && size < 0 {
			err = fmt.Errorf("%w: a file of %d bytes", ErrCorrupt, size)
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			if s.File != nil {
				err = errors.Join(err, s.File.Close())
			}
			return err
		}
		one := &part{Segment: s}
		if s.File != nil && s.Size > layer.External {
			one.done = make(chan struct{})
			g.Go(func() error {
				defer close(one.done)
				stored, err := a.store.Put(ctx, s.File, s.Size)
				one.digest = stored.Digest
				return err
			})
		}
		a.order <- one
	}
	return nil
}

// write hashes and writes the parts in their order. It takes all of them, whatever goes wrong.
func (a *assembly) write() error {
	var err error
	for one := range a.order {
		if err == nil {
			err = a.part(one)
		}
		if one.done != nil {
			<-one.done
		}
		if one.File != nil {
			err = errors.Join(err, one.File.Close())
		}
	}
	_, _ = a.stream.Write(a.run) // the error stays in the stream
	return err
}

func (a *assembly) part(one *part) error {
	if one.File == nil {
		a.hash.Write(one.Data)
		a.progress(len(one.Data))
		return a.inline(one.Data)
	}
	if one.Size <= layer.External {
		data := make([]byte, one.Size)
		if n, err := one.File.ReadAt(data, 0); int64(n) < one.Size {
			return fmt.Errorf("read %s: %w", one.File.Name(), errors.Join(err, objects.ErrChanged))
		}
		a.hash.Write(data)
		return a.inline(data)
	}
	// The data were read for the store, or will be: the page cache has them.
	content := one.Content
	if content == nil {
		content = io.NewSectionReader(one.File, 0, one.Size)
	}
	n, err := io.Copy(a.hash, content)
	if err == nil && n < one.Size {
		err = objects.ErrChanged
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", one.File.Name(), err)
	}
	a.progress(int(n))
	<-one.done
	if one.digest.IsZero() {
		return nil // storing it has failed, and says why
	}
	_, _ = a.stream.Write(a.run) // the error stays in the stream
	a.run = a.run[:0]
	a.stream.Object(one.digest, one.Size)
	return nil
}

// inline gathers inline bytes.
func (a *assembly) inline(data []byte) error {
	a.run = append(a.run, data...)
	if len(a.run) < maxRun {
		return nil
	}
	_, err := a.stream.Write(a.run)
	a.run = a.run[:0]
	return err
}

// Put stores a file, and counts it.
func (s *countingStore) Put(ctx context.Context, f *os.File, size int64) (objects.Stored, error) {
	stored, err := s.Dir.Put(ctx, f, size)
	if err == nil {
		s.p.count(stored, size)
	}
	return stored, err
}
