package splitstream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-composefs/composefs/fsverity"
)

// WriterOptions say what a [Writer] writes.
type WriterOptions struct {
	Algorithm   fsverity.Algorithm // of the store: SHA256, the default, or SHA512
	ContentType ContentType
	// Scratch returns an empty file for a compressed stream of more than a few MiB; the Writer
	// closes it. Without it the compressed stream stays in memory.
	Scratch func() (*os.File, error)
}

// runSize is how many inline bytes are collected before they become a chunk.
const runSize = 1 << 20

var errFinished = errors.New("splitstream is finished")

// Writer makes a splitstream from chunks and refs. The first error sticks: whatever comes
// after it does nothing, and Finish returns it. It is not safe for concurrent use.
type Writer struct {
	info    info
	err     error
	out     spool
	c       *compressor // nil once finished or closed
	objects refBuilder
	streams refBuilder
	named   map[string]int // index of a stream ref by name
	text    int            // bytes of named refs, about
}

// NewWriter returns a Writer, which has to be finished or closed.
func NewWriter(opts WriterOptions) *Writer {
	w := &Writer{
		info: info{algorithm: opts.Algorithm, contentType: opts.ContentType},
		out:  spool{scratch: opts.Scratch},
	}
	switch opts.Algorithm {
	case fsverity.Algorithm{}:
		w.info.algorithm = fsverity.SHA256
	case fsverity.SHA256, fsverity.SHA512:
	default:
		w.fail(fmt.Errorf("%w: refs that are %v", ErrUnsupported, opts.Algorithm))
	}
	w.c = newCompressor(&w.out)
	return w
}

// Write adds inline bytes. The bytes of one call stay in one chunk, for composefs-rs 0.9 cannot
// read a tar header or an extended header that two chunks share: give each of them, with its
// padding, in one call.
func (w *Writer) Write(inline []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	w.grow(int64(len(inline)))
	if len(w.c.run)+len(inline) > runSize {
		w.flush()
	}
	if len(inline) > runSize {
		w.emit(inline)
	} else {
		w.c.run = append(w.c.run, inline...)
	}
	if w.err != nil {
		return 0, w.err
	}
	return len(inline), nil
}

// Object adds all of an object of the store, of size bytes, as the next chunk.
func (w *Writer) Object(d fsverity.Digest, size int64) {
	if w.check(d) != nil {
		return
	}
	if size < 0 {
		w.fail(fmt.Errorf("object %v of %d bytes", d, size))
		return
	}
	w.grow(size)
	index, added := w.objects.add(d)
	w.limit(&w.objects)
	if size == 0 && !added {
		return // readers bound the number of chunks by the stream's size
	}
	w.flush()
	w.word(int64(index))
}

// StreamRef adds a splitstream or image that this one needs.
func (w *Writer) StreamRef(d fsverity.Digest) {
	if w.check(d) == nil {
		w.streams.add(d)
		w.limit(&w.streams)
	}
}

// NamedRef adds a stream ref that has a name, in UTF-8 and without NUL. A name has one
// meaning.
func (w *Writer) NamedRef(name string, d fsverity.Digest) {
	if w.check(d) != nil {
		return
	}
	if !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		w.fail(fmt.Errorf("named ref %.200q: not UTF-8 without NUL", name))
		return
	}
	index, _ := w.streams.add(d)
	w.limit(&w.streams)
	if old, ok := w.named[name]; ok && old != index {
		w.fail(fmt.Errorf("named ref %.200q: given twice, with different digests", name))
		return
	} else if ok {
		return
	}
	if w.named == nil {
		w.named = map[string]int{}
	}
	w.named[name] = index
	if w.text += len(name) + len("4194303:\x00"); w.text > maxNamed || len(w.named) > maxNames {
		w.fail(fmt.Errorf("%w: more than %d named refs, or of %d bytes", ErrUnsupported, maxNames, maxNamed))
	}
}

// Finish writes the splitstream to dst, returns its size in bytes, and ends the Writer's life,
// also on error. It does not close dst.
func (w *Writer) Finish(dst io.Writer) (n int64, err error) {
	defer func() { err = errors.Join(err, w.Close()) }()
	w.flush()
	if w.err != nil {
		return 0, w.err
	}
	if err := w.c.zstd.Close(); err != nil {
		return 0, fmt.Errorf("compress splitstream: %w", err)
	}
	named, err := w.compressNamed()
	if err != nil {
		return 0, err
	}

	at := int64(headerSize + infoSize)
	next := func(size int64) span {
		s := span{at, at + size}
		at = s.end
		return s
	}
	w.info.streamRefs = next(int64(w.streams.raw.Len()))
	w.info.objectRefs = next(int64(w.objects.raw.Len()))
	w.info.namedRefs = next(int64(len(named)))
	w.info.stream = next(w.out.size)
	for _, section := range [][]byte{w.info.append(nil), w.streams.raw.Bytes(), w.objects.raw.Bytes(), named} {
		m, err := dst.Write(section)
		n += int64(m)
		if err != nil {
			return n, fmt.Errorf("write splitstream at byte %d: %w", n, err)
		}
	}
	m, err := w.out.copyTo(dst)
	n += m
	if err != nil {
		return n, fmt.Errorf("write splitstream at byte %d: %w", n, err)
	}
	return n, nil
}

// Close gives up a Writer that is not to be finished and closes the scratch file. It can be
// called at any time, and again.
func (w *Writer) Close() error {
	if w.c == nil {
		return nil
	}
	w.c.release()
	w.c = nil
	w.fail(errFinished)
	return w.out.close()
}

// compressNamed returns the named refs' section.
func (w *Writer) compressNamed() ([]byte, error) {
	text := make([]byte, 0, w.text)
	for _, name := range slices.Sorted(maps.Keys(w.named)) {
		text = strconv.AppendInt(text, int64(w.named[name]), 10)
		text = append(text, ':')
		text = append(text, name...)
		text = append(text, 0)
	}
	var section spool
	w.c.zstd.Reset(&section)
	if _, err := w.c.zstd.Write(text); err != nil {
		return nil, fmt.Errorf("compress named refs: %w", err)
	}
	if err := w.c.zstd.Close(); err != nil {
		return nil, fmt.Errorf("compress named refs: %w", err)
	}
	return section.mem, nil
}

// fail keeps the first error.
func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// check returns the error that is there already, or that of a digest that is not the store's.
func (w *Writer) check(d fsverity.Digest) error {
	if d.Hash() != w.info.algorithm.Hash {
		w.fail(fmt.Errorf("ref %v: not a digest of %v", d, w.info.algorithm))
	}
	return w.err
}

// limit holds the tables to what readers take.
func (w *Writer) limit(t *refBuilder) {
	if len(t.index) > maxRefs {
		w.fail(fmt.Errorf("%w: more than %d refs", ErrUnsupported, maxRefs))
	}
}

// grow counts bytes of the reassembled stream.
func (w *Writer) grow(n int64) {
	if n > math.MaxInt64-w.info.size {
		w.fail(fmt.Errorf("%w: a stream of more than %d bytes", ErrUnsupported, int64(math.MaxInt64)))
		return
	}
	w.info.size += n
}

// flush makes the collected inline bytes a chunk.
func (w *Writer) flush() {
	if w.err == nil && len(w.c.run) > 0 {
		w.emit(w.c.run)
		w.c.run = w.c.run[:0]
	}
}

// emit writes an inline chunk.
func (w *Writer) emit(inline []byte) {
	w.word(-int64(len(inline)))
	w.compress(inline)
}

// word writes what begins a chunk.
func (w *Writer) word(n int64) {
	w.compress(binary.LittleEndian.AppendUint64(w.c.head[:0], uint64(n)))
}

func (w *Writer) compress(b []byte) {
	if w.err != nil {
		return
	}
	if _, err := w.c.zstd.Write(b); err != nil {
		w.fail(fmt.Errorf("compress splitstream: %w", err))
	}
}
