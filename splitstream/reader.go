package splitstream

import (
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
)

// ReaderOptions say what a splitstream has to be. The zero value takes every one.
type ReaderOptions struct {
	Algorithm   fsverity.Algorithm // of the store; zero takes what the file says
	ContentType ContentType        // zero takes what the file says
	MaxSize     uint64             // of the reassembled stream, in bytes; 0 means no limit
}

// Reader is an open splitstream. It is safe for concurrent use if the io.ReaderAt below it is.
type Reader struct {
	r          io.ReaderAt
	info       info
	objectRefs refTable
	streamRefs refTable
	named      []NamedRef // by name
}

// headSize is what is read of a file at once: all but the stream, if there are few refs.
const headSize = 4096

// Open reads all of a splitstream of size bytes but the stream itself. The Reader uses r as long
// as it lives and does not close it. Errors wrap [ErrCorrupt], [ErrUnsupported] or
// [ErrMismatch] unless they are r's own.
func Open(r io.ReaderAt, size int64, opts ReaderOptions) (*Reader, error) {
	if size < headerSize {
		return nil, corruptf("header", 0, "a file of %d bytes", size)
	}
	f := &head{r: r, buf: make([]byte, min(size, headSize))}
	if err := readAt(r, f.buf, 0); err != nil {
		return nil, err
	}
	in, err := parseHeader(f.buf, size)
	if err != nil {
		return nil, err
	}
	if want := opts.Algorithm; want != (fsverity.Algorithm{}) && want != in.algorithm {
		return nil, fmt.Errorf("%w: refs are %v, want %v", ErrMismatch, in.algorithm, want)
	}
	known, err := f.text(span{in.info.start, in.info.start + infoSize})
	if err != nil {
		return nil, err
	}
	if err := in.parse([]byte(known), size); err != nil {
		return nil, err
	}
	if want := opts.ContentType; want != 0 && want != in.contentType {
		return nil, fmt.Errorf("%w: content type is %v, want %v", ErrMismatch, in.contentType, want)
	}
	if opts.MaxSize > 0 && uint64(in.size) > opts.MaxSize {
		return nil, unsupportedf(in.info.start+72, "a stream of %d bytes, the limit is %d", in.size, opts.MaxSize)
	}
	s := &Reader{r: r, info: in}
	if s.streamRefs, err = f.refs("stream_refs", in.streamRefs, in.algorithm); err != nil {
		return nil, err
	}
	if s.objectRefs, err = f.refs("object_refs", in.objectRefs, in.algorithm); err != nil {
		return nil, err
	}
	text, err := f.namedText(in.namedRefs)
	if err != nil {
		return nil, err
	}
	s.named, err = parseNamed(text, in.namedRefs, s.streamRefs)
	return s, err
}

// Algorithm returns the fs-verity algorithm of all refs.
func (s *Reader) Algorithm() fsverity.Algorithm { return s.info.algorithm }

// ContentType returns what the stream is.
func (s *Reader) ContentType() ContentType { return s.info.contentType }

// Size returns the size of the reassembled stream in bytes, as the file promises it.
func (s *Reader) Size() uint64 { return uint64(s.info.size) }

// ObjectRefs returns the objects that chunks may use. The digests share one piece of memory.
func (s *Reader) ObjectRefs() []fsverity.Digest { return slices.Collect(s.objectRefs.all()) }

// StreamRefs returns the splitstreams and images that this one needs. The digests share one
// piece of memory.
func (s *Reader) StreamRefs() []fsverity.Digest { return slices.Collect(s.streamRefs.all()) }

// NamedRefs returns the stream refs that have names, sorted by name.
func (s *Reader) NamedRefs() []NamedRef { return slices.Clone(s.named) }

// Named returns the stream ref of that name, if there is one.
func (s *Reader) Named(name string) (fsverity.Digest, bool) {
	i, ok := slices.BinarySearchFunc(s.named, name, func(r NamedRef, name string) int {
		return strings.Compare(r.Name, name)
	})
	if !ok {
		return fsverity.Digest{}, false
	}
	return s.named[i].Digest, true
}

// References returns all that must live as long as the splitstream: object refs, then stream
// refs. The digests share one piece of memory; nothing is read or decompressed for them.
func (s *Reader) References() iter.Seq[fsverity.Digest] {
	return func(yield func(fsverity.Digest) bool) {
		for d := range s.objectRefs.all() {
			if !yield(d) {
				return
			}
		}
		s.streamRefs.all()(yield)
	}
}

// head reads sections, from its buffer those at the start of the file.
type head struct {
	r   io.ReaderAt
	buf []byte
}

func (f *head) ReadAt(p []byte, offset int64) (int, error) {
	if offset+int64(len(p)) <= int64(len(f.buf)) {
		return copy(p, f.buf[offset:]), nil
	}
	return f.r.ReadAt(p, offset)
}

// text returns the bytes of s, which the caller has capped.
func (f *head) text(s span) (string, error) {
	if s.end <= int64(len(f.buf)) {
		return string(f.buf[s.start:s.end]), nil
	}
	// Pieces: the memory a lying file costs is what it has bytes for, and the table is there once.
	var b strings.Builder
	piece := make([]byte, min(s.len(), decodeSize))
	for at := s.start; at < s.end; {
		p := piece[:min(int64(len(piece)), s.end-at)]
		if err := readAt(f.r, p, at); err != nil {
			return "", err
		}
		if b.Len() == 0 {
			b.Grow(int(s.len()))
		}
		b.Write(p)
		at += int64(len(p))
	}
	return b.String(), nil
}

func (f *head) refs(section string, s span, alg fsverity.Algorithm) (refTable, error) {
	t := refTable{digest: alg.Hash.Size()}
	if s.len()%int64(t.digest) != 0 {
		return t, corruptf(section, s.start, "%d bytes of digests that have %d each", s.len(), t.digest)
	}
	if n := s.len() / int64(t.digest); n > maxRefs {
		return t, unsupportedf(s.start, "%d %s, the limit is %d", n, section, maxRefs)
	}
	var err error
	t.raw, err = f.text(s)
	return t, err
}

// namedText decompresses the named refs.
func (f *head) namedText(s span) (string, error) {
	d, err := newDecoder(f, "named_refs", s)
	if err != nil {
		return "", err
	}
	defer d.release()
	var b strings.Builder
	for {
		p, err := d.next(decodeSize)
		if err != nil || len(p) == 0 {
			return b.String(), err
		}
		if b.Len()+len(p) > maxNamed {
			return "", unsupportedf(s.start, "more than %d bytes of named_refs", maxNamed)
		}
		b.Write(p)
	}
}

// readAt fills p from offset.
func readAt(r io.ReaderAt, p []byte, offset int64) error {
	if n, err := r.ReadAt(p, offset); n < len(p) {
		return readError(err, offset+int64(n))
	}
	return nil
}
