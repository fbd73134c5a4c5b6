package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
	"github.com/go-composefs/composefs/splitstream"
)

// ErrNoStore reports a file whose content is no object yet, and that there is no store for it.
var ErrNoStore = errors.New("content that is no object, and no store for it")

// Entry is one of a tar.
type Entry struct {
	// Header says what the entry is: with pax records, among them attributes, and with what extended
	// headers replace. Size is that of a sparse file with its holes.
	Header *tar.Header
	Offset int64 // of its first header in the tar, in bytes
	// Content is that of a regular file of at most [External] bytes. It is the caller's.
	Content []byte
	Digest  fsverity.Digest // of larger ones: their object
}

// EntriesOptions say how a splitstream is read as a tar.
type EntriesOptions struct {
	// Store takes the content of what is a regular file and no object of its own in the splitstream,
	// which is so for sparse files. Nil: such a file is [ErrNoStore].
	Store Store
	// MaxSparse is how many bytes all sparse files may have with their holes; 0 means 16 GiB.
	MaxSparse int64
}

// Entries returns the entries of a tar that is a splitstream, in their order. Objects are not read: what
// is large costs nothing. Memory does not grow with the number of entries.
//
// After an error, which names the entry, there is nothing more. It wraps [ErrFormat] if the splitstream is
// no tar, or one whose files are not objects as [Read] makes them.
func Entries(ctx context.Context, s *splitstream.Reader, opts EntriesOptions) iter.Seq2[*Entry, error] {
	if opts.MaxSparse == 0 {
		opts.MaxSparse = defaultMaxSparse
	}
	return func(yield func(*Entry, error) bool) {
		next, stop := iter.Pull2(s.Chunks())
		defer stop()
		j := &joiner{
			ctx: ctx, opts: opts, sparse: opts.MaxSparse,
			source: &chunkReader{chunks: next, size: int64(min(s.Size(), 1<<63-1))},
		}
		j.tar = tar.NewReader(j.source)
		for {
			e, err := j.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// joiner makes entries of chunks.
type joiner struct {
	ctx    context.Context //nolint:containedctx // that of one call of Entries
	opts   EntriesOptions
	source *chunkReader
	tar    *tar.Reader
	end    int64 // where the last entry ends, with its padding
	sparse int64 // bytes that sparse files may still have
}

// next returns io.EOF behind the last entry.
func (j *joiner) next() (*Entry, error) {
	start := j.end
	if err := j.ctx.Err(); err != nil {
		return nil, wrong(start, "", err)
	}
	h, err := j.tar.Next()
	switch {
	case errors.Is(err, io.EOF):
		if err = j.source.drain(); err == nil {
			return nil, io.EOF
		}
		return nil, wrong(start, "", err)
	case err != nil && !errors.Is(err, tar.ErrInsecurePath):
		return nil, wrong(start, "", err)
	}
	e := &Entry{Header: h, Offset: start}
	if err := j.fill(e); err != nil {
		return nil, wrong(start, h.Name, err)
	}
	return e, nil
}

// fill finds the content of an entry.
func (j *joiner) fill(e *Entry) error {
	h := e.Header
	if err := checkLengths(h); err != nil {
		return err
	}
	physical := h.Size
	if isHeaderOnly(h.Typeflag) {
		physical = 0
	}
	j.end = padded(j.source.n + physical)
	switch {
	case !hasContent(h):
		return nil
	case isSparse(h):
		if j.sparse -= h.Size; j.sparse < 0 {
			return tooSparse(h.Size)
		}
		err := j.inline(e)
		j.end = padded(j.source.n)
		return err
	case h.Size > External:
		digest, ok, err := j.source.object(h.Size)
		if ok || err != nil {
			e.Digest = digest
			return err
		}
	}
	return j.inline(e)
}

// inline reads a content that is not an object of its own.
func (j *joiner) inline(e *Entry) (err error) {
	size := e.Header.Size
	if size <= External {
		e.Content = make([]byte, size)
		_, err = io.ReadFull(j.tar, e.Content)
		return err
	}
	if j.opts.Store == nil {
		return fmt.Errorf("%w: a file of %d bytes", ErrNoStore, size)
	}
	var stored objects.Stored
	if size <= smallMax {
		data := make([]byte, size)
		if _, err := io.ReadFull(j.tar, data); err != nil {
			return err
		}
		stored, err = j.opts.Store.PutBytes(j.ctx, data)
	} else {
		stored, err = j.opts.Store.PutReader(j.ctx, &exactly{j.tar, size})
	}
	if err != nil {
		return fmt.Errorf("store a file of %d bytes: %w", size, err)
	}
	e.Digest = stored.Digest
	return nil
}
