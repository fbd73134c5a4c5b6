package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/go-composefs/composefs/tree"
)

// Layer is what a tar holds.
type Layer struct {
	Root   *tree.Inode // nil with Options.NoTree
	DiffID []byte      // Options.Hash of the tar, without compression
	Size   int64       // bytes of the tar, without compression
	// NoEnd says that the blocks of zeros are missing that end a tar: it may have been cut short.
	NoEnd bool
	// Ignored counts the entries that say more than a tree can tell, by the key of the pax record.
	Ignored map[string]int
}

// Read reads a tar, which may be compressed with gzip or zstd, up to the end of r. Objects may have
// been stored even if it fails.
func Read(ctx context.Context, r io.Reader, opts Options) (*Layer, error) {
	if err := opts.defaults(); err != nil {
		return nil, err
	}
	if !opts.Plain {
		plain, err := Decompress(r)
		if err != nil {
			return nil, err
		}
		defer plain.Close()
		r = plain
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &splitter{
		opts: opts, source: &recorder{r: r, hash: opts.Hash.New()}, pieces: startPieces(ctx, opts),
		sparse: opts.MaxSparse, tooLarge: fmt.Errorf("%w: a tar of more than %d bytes", ErrLimit, opts.MaxSize),
	}
	var b *builder
	if opts.NoTree {
		s.entries = &checker{left: opts.MaxEntries}
	} else {
		b = newBuilder(opts.MaxEntries)
		s.entries = b
	}
	s.source.keep = opts.Stream != nil
	err := s.split()
	// Why storing failed says more than that reading was given up.
	if errStore := s.pieces.wait(); errStore != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = errStore
	}
	if err != nil {
		return nil, err
	}
	l := &Layer{DiffID: s.source.hash.Sum(nil), Size: s.source.n, NoEnd: s.noEnd}
	if b != nil {
		l.Root, l.Ignored = b.finish(), b.ignored
	}
	return l, nil
}

// splitter reads a tar entry by entry.
type splitter struct {
	opts    Options
	source  *recorder
	entries interface {
		// add takes an entry and returns its inode, whose content is still to come if it is a regular
		// file, or nil if it is no file.
		add(h *tar.Header) (*tree.Inode, error)
	}
	pieces *pieces
	sparse int64 // bytes that sparse files may still have
	end    int64 // where the last entry ends in the tar, with its padding
	noEnd  bool  // see Layer

	tooLarge error // of reading more than Options.MaxSize
}

// runSize is how many inline bytes are gathered before they are passed on.
const runSize = 64 << 10

func (s *splitter) split() error {
	t := tar.NewReader(s.source)
	for {
		start := s.end
		s.limit(start + maxHeaders)
		header, err := t.Next()
		s.source.scattered = false
		s.limit(math.MaxInt64)
		if errors.Is(err, io.EOF) {
			return s.rest()
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return s.wrong(start, "", err)
		}
		if len(s.source.kept) > runSize {
			// What belongs to the entry before stays together, and so do all headers of this one.
			s.pieces.inline(s.source.takeUpTo(s.end))
		}
		if err := s.entry(t, header); err != nil {
			return s.wrong(start, header.Name, err)
		}
	}
}

// limit says up to where the tar may be read now.
func (s *splitter) limit(end int64) {
	s.source.limit, s.source.beyond = end, errHeaders
	if s.opts.MaxSize <= end {
		s.source.limit, s.source.beyond = s.opts.MaxSize, s.tooLarge
	}
}

var errHeaders = fmt.Errorf("%w: headers of more than %d bytes", ErrLimit, maxHeaders)

// wrong says where an error is.
func (s *splitter) wrong(at int64, name string, err error) error {
	if s.source.n == 0 && errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrFormat
	}
	return wrong(at, name, err)
}

// wrong says where in a tar an error is.
func wrong(at int64, name string, err error) error {
	switch {
	case errors.Is(err, tar.ErrHeader) && at == 0:
		return ErrFormat
	case errors.Is(err, tar.ErrHeader):
		err = ErrFormat
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("%w: it is cut short", ErrFormat)
	}
	if name == "" {
		return fmt.Errorf("entry at byte %d: %w", at, err)
	}
	return fmt.Errorf("entry %q at byte %d: %w", name, at, err)
}

// entry puts one entry into the tree, its content into the store, and all of it into the stream.
func (s *splitter) entry(t *tar.Reader, h *tar.Header) error {
	physical := h.Size
	if isHeaderOnly(h.Typeflag) {
		physical = 0
	}
	s.end = padded(s.source.n + physical)
	n, err := s.entries.add(h)
	switch {
	case err != nil:
		return err
	case n == nil || !n.IsRegular(): // a content means nothing, and is inline
		s.scatter(physical)
		return nil
	case isSparse(h):
		// What is in the tar says where holes are; the object is the file as it is read.
		if s.sparse -= h.Size; s.sparse < 0 {
			return tooSparse(h.Size)
		}
		s.scatter(s.opts.MaxSparse)
		if s.opts.NoTree { // which is the one thing that would need this object
			_, err = io.Copy(io.Discard, t)
		} else {
			err = s.content(t, n, false)
		}
		s.end = padded(s.source.n)
	case h.Size > External:
		if s.source.keep {
			s.pieces.inline(s.source.take())
		}
		err = s.content(t, n, true)
	case !s.opts.NoTree:
		n.Content = make([]byte, h.Size)
		_, err = io.ReadFull(t, n.Content)
	}
	if s.opts.Progress != nil {
		s.opts.Progress.Add(1, h.Size)
	}
	return err
}

// scatter lets inline bytes of a large content go in parts.
func (s *splitter) scatter(size int64) {
	if s.source.keep && size > runSize {
		s.source.scattered, s.source.pass = true, s.pieces.inline
	}
}

// content stores the content of a regular file, which is external in the stream or inline.
func (s *splitter) content(t *tar.Reader, n *tree.Inode, external bool) error {
	if size := int64(n.Size); size <= External {
		n.Content = make([]byte, size)
		_, err := io.ReadFull(t, n.Content)
		return err
	}
	if external {
		keep := s.source.keep
		s.source.keep = false
		defer func() { s.source.keep = keep }()
	}
	return s.pieces.object(t, n, external)
}

// rest reads what is behind the last entry.
func (s *splitter) rest() error {
	if s.source.n == 0 && !s.opts.NoTree {
		return fmt.Errorf("%w: it is empty", ErrFormat)
	}
	s.noEnd = s.source.ended
	s.scatter(runSize + 1)
	if _, err := io.Copy(io.Discard, s.source); err != nil {
		return fmt.Errorf("behind the last entry, from byte %d on: %w", s.end, err)
	}
	if s.source.keep {
		s.pieces.inline(s.source.take())
	}
	return nil
}

// padded is where a block begins that is not before a place in the tar.
func padded(n int64) int64 { return (n + 511) &^ 511 }

func isHeaderOnly(flag byte) bool {
	switch flag {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo:
		return true
	}
	return false
}

// isSparse says whether the content of an entry is not what the tar has.
func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if len(key) > len(paxSparse) && key[:len(paxSparse)] == paxSparse {
			return true
		}
	}
	return false
}

const paxSparse = "GNU.sparse."
