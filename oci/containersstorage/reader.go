package containersstorage

import (
	"context"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"io/fs"
	"os"
)

// reader reads the segments of a tar one after the other.
type reader struct {
	ctx   context.Context
	layer *Layer
	a     *assembly
	data  []byte // what is left of raw bytes

	file    *os.File // nil if the segment is no file
	content io.Reader
	err     error // sticky
}

func (r *reader) Read(p []byte) (int, error) {
	for len(p) > 0 && r.err == nil {
		if len(r.data) > 0 {
			n := copy(p, r.data)
			r.data = r.data[n:]
			return n, nil
		}
		if r.file != nil {
			n, err := r.content.Read(p)
			if err != nil {
				_ = r.file.Close() // opened for reading
				r.file = nil
				if !errors.Is(err, io.EOF) {
					r.err = r.layer.wrong(err)
				}
			}
			if n > 0 {
				return n, nil
			}
			continue
		}
		r.advance()
	}
	if len(p) == 0 {
		return 0, nil
	}
	return 0, r.err
}

func (r *reader) advance() {
	s, err := r.a.next(r.ctx)
	switch {
	case errors.Is(err, io.EOF):
		r.err = io.EOF
	case err != nil:
		r.err = r.layer.wrong(err)
	case s.File != nil:
		r.file, r.content = s.File, s.Content()
	default:
		r.data = s.Data
	}
}

// Close releases the layer.
func (r *reader) Close() error {
	if r.a == nil {
		return fs.ErrClosed
	}
	if r.file != nil {
		_ = r.file.Close() // opened for reading
		r.file = nil
	}
	r.a.close()
	r.a, r.data, r.err = nil, nil, fs.ErrClosed
	return nil
}

// crcTable is of the polynomial that tar-split uses.
var crcTable = crc64.MakeTable(crc64.ISO)

// checked reads a file and compares it with its checksum.
type checked struct {
	name string
	r    io.Reader
	left int64 // bytes that are to come
	crc  uint64
	want uint64
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.crc = crc64.Update(c.crc, crcTable, p[:n])
	c.left -= int64(n)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return n, fmt.Errorf("read %q: %w", c.name, err)
	case err != nil && c.left > 0:
		return n, fmt.Errorf("%w: %q: it has become shorter", ErrChanged, c.name)
	// With the last bytes, not after them: who knows the size may not ask for more.
	case c.left == 0 && c.crc != c.want:
		return n, fmt.Errorf("%w: %q: its content has another checksum", ErrChanged, c.name)
	}
	return n, err
}
