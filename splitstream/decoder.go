package splitstream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	// maxWindow is how far back a compressed section may refer, which is what a decoder has to
	// keep. RFC 8878, section 3.1.1.1.2, has decoders support 8 MiB; the writers' default is 2.
	maxWindow = 8 << 20
	// decodeSize is the size of the buffers before and after decompression.
	decodeSize = 64 << 10
)

// A decoder decompresses one section. It comes from a pool and goes back by release.
type decoder struct {
	zstd    *zstd.Decoder
	in      *bufio.Reader
	file    sectionReader
	section string
	buf     []byte // decodeSize bytes
	r, w    int    // buf[r:w] is decompressed and not yet used
	decoded int64  // bytes used, all in all
}

var decoders = sync.Pool{New: func() any {
	z, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxWindow(maxWindow),
		// In a frame of a single segment the content is the window.
		zstd.WithDecoderMaxMemory(maxWindow))
	if err != nil {
		panic("splitstream: " + err.Error()) // the options are constant
	}
	return &decoder{zstd: z, in: bufio.NewReaderSize(nil, decodeSize), buf: make([]byte, decodeSize)}
}}

// newDecoder returns a decoder of the part s of a file.
func newDecoder(r io.ReaderAt, section string, s span) (*decoder, error) {
	if s.len() == 0 {
		return nil, corruptf(section, s.start, "no zstd frame")
	}
	d, ok := decoders.Get().(*decoder)
	if !ok {
		panic("splitstream: not a decoder in the pool")
	}
	d.file = sectionReader{r: r, start: s.start, off: s.start, end: s.end}
	d.section = section
	d.r, d.w, d.decoded = 0, 0, 0
	d.in.Reset(&d.file)
	if err := d.zstd.Reset(d.in); err != nil {
		err = d.explain(err)
		d.release()
		return nil, err
	}
	return d, nil
}

// release returns the decoder to the pool. It must not be used any more, nor the bytes that it
// gave.
func (d *decoder) release() {
	// Forget the file; with a nil reader there is nothing to fail.
	_ = d.zstd.Reset(nil)
	d.in.Reset(nil)
	d.file = sectionReader{}
	decoders.Put(d)
}

// peek returns the next n bytes, n at most 8, without using them. At the section's end it
// returns fewer, and no error.
func (d *decoder) peek(n int) ([]byte, error) {
	for d.w-d.r < n {
		switch more, err := d.fill(); {
		case err != nil:
			return nil, err
		case !more:
			return d.buf[d.r:d.w], nil
		}
	}
	return d.buf[d.r:][:n], nil
}

// next returns and uses at least one and at most limit bytes, which are valid until the next
// call. At the section's end it returns none, and no error.
func (d *decoder) next(limit int64) ([]byte, error) {
	if d.r == d.w {
		if more, err := d.fill(); err != nil || !more {
			return nil, err
		}
	}
	return d.use(int(min(int64(d.w-d.r), limit))), nil
}

// use takes n bytes off the buffer.
func (d *decoder) use(n int) []byte {
	p := d.buf[d.r:][:n]
	d.r += n
	d.decoded += int64(n)
	return p
}

// fill decompresses more into the buffer and says whether there was more.
func (d *decoder) fill() (bool, error) {
	d.w = copy(d.buf, d.buf[d.r:d.w])
	d.r = 0
	n, err := d.zstd.Read(d.buf[d.w:])
	d.w += n
	switch {
	case n > 0: // an error comes again
		return true, nil
	case errors.Is(err, io.EOF) && d.file.err == nil:
		return false, nil
	}
	return false, d.explain(err)
}

// explain tells a section that cannot be decompressed from a file that cannot be read.
func (d *decoder) explain(err error) error {
	switch {
	case d.file.err != nil:
		return d.file.err
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return unsupportedf(d.file.start, "%s needs a window of more than %d bytes", d.section, maxWindow)
	}
	return d.corruptf("decompress: %v", err)
}

func (d *decoder) corruptf(format string, args ...any) error {
	return &CorruptError{d.section, d.file.start, d.decoded, fmt.Sprintf(format, args...)}
}

// A sectionReader reads a part of a file in order and remembers why it could not.
type sectionReader struct {
	r               io.ReaderAt
	start, off, end int64
	err             error
}

func (s *sectionReader) Read(p []byte) (int, error) {
	if s.off == s.end {
		return 0, io.EOF
	}
	n, err := s.r.ReadAt(p[:min(int64(len(p)), s.end-s.off)], s.off)
	s.off += int64(n)
	if n > 0 {
		return n, nil // an error comes again
	}
	s.err = readError(err, s.off)
	return 0, s.err
}

// readError returns the error of a read at offset that should have given more bytes.
func readError(err error, offset int64) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return corruptf("file", offset, "it ends too early")
	}
	return fmt.Errorf("read splitstream at byte %d: %w", offset, err)
}
