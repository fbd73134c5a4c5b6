package containersstorage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"

	"github.com/opencontainers/go-digest"
)

// UnknownSize stands for a size that the storage does not know.
const UnknownSize = -1

// Layer is a layer of an image. Its methods may be called concurrently.
type Layer struct {
	ID     string        // in the storage
	DiffID digest.Digest // of the tar that Reader gives, as the configuration says; not verified here
	Size   int64         // bytes of that tar, or UnknownSize
	// CompressedDigest and CompressedSize are of the blob that was pulled, if the storage knows them, else empty and
	// UnknownSize. The blob itself is not in the storage.
	CompressedDigest digest.Digest
	CompressedSize   int64

	store *store
}

func newLayer(r layerRecord) *Layer {
	l := &Layer{
		ID: r.ID, DiffID: digest.Digest(r.Digest), Size: UnknownSize, CompressedDigest: digest.Digest(r.CompressedDigest),
		CompressedSize: UnknownSize, store: r.store,
	}
	if r.Digest != "" && r.Size > 0 {
		l.Size = r.Size
	}
	if r.CompressedDigest != "" && r.CompressedSize > 0 {
		l.CompressedSize = r.CompressedSize
	}
	return l
}

// Segment is a part of a layer's tar: raw bytes, or the content of a file.
type Segment struct {
	Data []byte // the receiver's; nil if it is a file

	Name string   // the file's name in the tar
	File *os.File // the receiver's, who closes it; it has been opened for reading, and is at its start
	Size int64    // of the file, in bytes; at least 1

	crc uint64
}

// Content returns a reader of the file's content from its beginning, which fails with [ErrChanged] at the end if it
// is not what it was. The place of File does not matter and does not move.
func (s Segment) Content() io.Reader {
	return &checked{name: s.Name, r: io.NewSectionReader(s.File, 0, s.Size), left: s.Size, want: s.crc}
}

// Segments returns the parts of the tar in order. Together they are the tar, bit for bit, if each file is read to
// its end by Content. The list ends with the first error. While it is read, podman waits before it removes or
// adds layers.
func (l *Layer) Segments(ctx context.Context) iter.Seq2[Segment, error] {
	return func(yield func(Segment, error) bool) {
		a, err := l.assemble(ctx)
		if err != nil {
			yield(Segment{}, l.wrong(err))
			return
		}
		defer a.close()
		for {
			s, err := a.next(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Segment{}, l.wrong(err))
				return
			}
			if !yield(s, nil) {
				return
			}
		}
	}
}

// Reader returns the layer's tar, uncompressed and bit for bit. It has to be closed; until then podman waits before
// it removes or adds layers. It is not safe for concurrent use.
func (l *Layer) Reader(ctx context.Context) (io.ReadCloser, error) {
	a, err := l.assemble(ctx)
	if err != nil {
		return nil, l.wrong(err)
	}
	return &reader{ctx: ctx, layer: l, a: a}, nil
}

func (l *Layer) wrong(err error) error { return fmt.Errorf("layer %.12s: %w", l.ID, err) }

// assembly puts a tar together.
type assembly struct {
	lock  io.Closer
	split *splitFile
	files fileOpener
	left  int64 // bytes that may still come
}

// maxTar bounds a layer whose size the storage does not know.
const maxTar = 1 << 40

func (l *Layer) assemble(ctx context.Context) (a *assembly, err error) {
	a = &assembly{left: l.Size}
	if l.Size == UnknownSize {
		a.left = maxTar
	}
	if a.lock, err = l.store.lock(ctx, "layers"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	f, err := l.store.open(l.store.tarSplit(l.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return a, fmt.Errorf("%w: it has no tar-split, without which its tar cannot be made again", ErrUnsupported)
	}
	if err != nil {
		return a, err
	}
	if a.split, err = newSplitFile(f); err != nil {
		return a, errors.Join(err, f.Close())
	}
	if a.files, err = openFiles(l.store.root, l.store.diffDir(l.ID)); err != nil {
		return a, hint(err)
	}
	switch named, err := openComposefs(l.store, l.ID, a.files); {
	case err == nil:
		a.files = named
	case !errors.Is(err, fs.ErrNotExist):
		return a, err
	}
	return a, nil
}

func (a *assembly) close() {
	// All of it was opened for reading.
	if a.files != nil {
		_ = a.files.Close()
	}
	if a.split != nil {
		_ = a.split.Close()
	}
	_ = a.lock.Close()
}

// next returns the next segment that has bytes, and io.EOF behind the last one.
func (a *assembly) next(ctx context.Context) (Segment, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Segment{}, err
		}
		e, err := a.split.next()
		if err != nil {
			return Segment{}, err
		}
		size := max(int64(len(e.data)), e.size)
		if size == 0 {
			continue
		}
		if size > a.left {
			return Segment{}, corruptf("%s: the tar is larger than the storage says", a.split.where())
		}
		a.left -= size
		if e.size == 0 {
			return Segment{Data: e.data}, nil
		}
		f, err := a.open(e)
		return Segment{Name: e.name, File: f, Size: e.size, crc: e.crc}, err
	}
}

func (a *assembly) open(e entry) (*os.File, error) {
	f, err := a.files.open(e.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %q: it is not there", ErrChanged, e.name)
	case errors.Is(err, errNoFile):
		return nil, fmt.Errorf("%w: %q: %w", ErrChanged, e.name, errNoFile)
	}
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", e.name, hint(err))
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%w: %q: %w", ErrChanged, e.name, errNoFile)
	case info.Size() != e.size:
		err = fmt.Errorf("%w: %q: it has %d bytes, and had %d", ErrChanged, e.name, info.Size(), e.size)
	default:
		return f, nil
	}
	return nil, errors.Join(err, f.Close())
}
