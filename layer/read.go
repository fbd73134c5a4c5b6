package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/go-composefs/composefs/objects"
	"github.com/go-composefs/composefs/splitstream"
	"github.com/go-composefs/composefs/tree"
)

// Errors that callers branch on.
var (
	// ErrFormat reports input that is no tar, or a broken one.
	ErrFormat = errors.New("not a tar, or a broken one")
	// ErrEntry reports an entry that cannot be in a tree.
	ErrEntry = errors.New("bad entry of a tar")
	// ErrLimit reports a tar that goes beyond [Options].
	ErrLimit = errors.New("tar beyond the limits")
)

// External is the size in bytes that a regular file must exceed to become an object.
const External = 64

// Store takes the content of files. [objects.Dir] is one. Its methods are called by several goroutines
// at once.
type Store interface {
	PutBytes(ctx context.Context, data []byte) (objects.Stored, error)
	PutReader(ctx context.Context, r io.Reader) (objects.Stored, error)
}

// Options say how a tar is read.
type Options struct {
	Store Store // required
	// Stream gets all of the tar, if it is not nil, and is not finished.
	Stream *splitstream.Writer

	MaxEntries int   // with directories that have none of their own; 0 means 16 million
	MaxSparse  int64 // bytes of a sparse file with its holes, which are stored; 0 means 16 GiB

	Progress tree.Progress // nil: nobody is told
	Jobs     int           // files stored at once; 0 means GOMAXPROCS
}

const (
	defaultMaxEntries = 16_000_000
	defaultMaxSparse  = 16 << 30
)

// Layer is what a tar holds.
type Layer struct {
	Root   *tree.Inode
	DiffID [sha256.Size]byte // SHA-256 of the tar, without compression
	Size   int64             // bytes of the tar, without compression
	// NoEnd says that the blocks of zeros are missing that end a tar: it may have been cut short.
	NoEnd bool
	// Ignored counts the entries that say more than a tree can tell, by the key of the pax record.
	Ignored map[string]int
}

// Read reads a tar, which may be compressed with gzip or zstd, up to the end of r. Objects may have
// been stored even if it fails.
func Read(ctx context.Context, r io.Reader, opts Options) (*Layer, error) {
	if opts.MaxEntries == 0 {
		opts.MaxEntries = defaultMaxEntries
	}
	if opts.MaxSparse == 0 {
		opts.MaxSparse = defaultMaxSparse
	}
	if opts.Jobs == 0 {
		opts.Jobs = runtime.GOMAXPROCS(0)
	}
	plain, err := Decompress(r)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &splitter{
		opts: opts, source: &recorder{r: plain, hash: sha256.New()}, builder: newBuilder(opts.MaxEntries),
		pieces: startPieces(ctx, opts),
	}
	s.source.keep = opts.Stream != nil
	err = s.split()
	// Why storing failed says more than that reading was given up.
	if errStore := s.pieces.wait(); errStore != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = errStore
	}
	if err != nil {
		return nil, err
	}
	l := &Layer{Root: s.builder.finish(), Size: s.source.n, NoEnd: s.noEnd, Ignored: s.builder.ignored}
	s.source.hash.Sum(l.DiffID[:0])
	return l, nil
}

// splitter reads a tar entry by entry.
type splitter struct {
	opts    Options
	source  *recorder
	builder *builder
	pieces  *pieces
	end     int64 // where the last entry ends in the tar, with its padding
	noEnd   bool  // see Layer
}

// runSize is how many inline bytes are gathered before they are passed on.
const runSize = 64 << 10

func (s *splitter) split() error {
	t := tar.NewReader(s.source)
	for {
		start := s.end
		header, err := t.Next()
		s.source.scattered = false
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

// wrong says where an error is.
func (s *splitter) wrong(at int64, name string, err error) error {
	switch {
	case errors.Is(err, tar.ErrHeader) && at == 0, errors.Is(err, io.ErrUnexpectedEOF) && s.source.n == 0:
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
	n, err := s.builder.add(h)
	switch {
	case err != nil:
		return err
	case n == nil || !n.IsRegular(): // a content means nothing, and is inline
		s.scatter(physical)
		return nil
	case isSparse(h):
		// What is in the tar says where holes are; the object is the file as it is read.
		if h.Size > s.opts.MaxSparse {
			return fmt.Errorf("%w: a sparse file of %d bytes", ErrLimit, h.Size)
		}
		s.scatter(s.opts.MaxSparse)
		err = s.content(t, n, false)
		s.end = padded(s.source.n)
	case h.Size > External:
		if s.source.keep {
			s.pieces.inline(s.source.take())
		}
		err = s.content(t, n, true)
	default:
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
	if s.source.n == 0 {
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
