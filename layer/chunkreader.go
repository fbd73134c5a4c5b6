package layer

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/splitstream"
)

// chunkReader reads the inline bytes of a splitstream as if objects were there too: whoever knows that
// one comes, and its size, passes over it, and archive/tar, which then looks at its last byte, finds
// a zero.
type chunkReader struct {
	chunks func() (splitstream.Chunk, error, bool)
	size   int64 // of the whole stream, as it is promised
	n      int64 // where in it we are

	inline []byte          // of the chunk that we are in
	next   fsverity.Digest // or the object that comes next
	hollow int64           // bytes of an object that are still to be passed over
	err    error           // of chunks
}

var errObject = fmt.Errorf("%w: an object where there is no file of more than %d bytes", ErrFormat, External)

// advance makes sure that there are inline bytes, or that an object comes next. Its error is io.EOF
// behind the last chunk.
func (r *chunkReader) advance() error {
	for len(r.inline) == 0 && r.next.IsZero() && r.err == nil {
		c, err, ok := r.chunks()
		if err == nil && !ok {
			err = io.EOF
		}
		r.inline, r.next, r.err = c.Inline, c.Object, err
	}
	return r.err
}

// object passes over an object of a file of size bytes, if one comes next.
func (r *chunkReader) object(size int64) (fsverity.Digest, bool, error) {
	err := r.advance()
	switch {
	case len(r.inline) > 0:
		return fsverity.Digest{}, false, nil
	case errors.Is(err, io.EOF):
		return fsverity.Digest{}, false, io.ErrUnexpectedEOF
	case err != nil:
		return fsverity.Digest{}, false, err
	case size > r.size-r.n:
		return fsverity.Digest{}, false, fmt.Errorf("%w: a file of %d bytes, and %d are left of the stream", ErrFormat, size, r.size-r.n)
	}
	digest := r.next
	r.next, r.hollow = fsverity.Digest{}, size
	return digest, true, nil
}

func (r *chunkReader) Read(p []byte) (int, error) {
	if r.hollow > 0 {
		p = p[:min(int64(len(p)), r.hollow)]
		clear(p)
		r.pass(int64(len(p)))
		return len(p), nil
	}
	if err := r.advance(); err != nil {
		return 0, err
	}
	if len(r.inline) == 0 {
		return 0, errObject
	}
	n := copy(p, r.inline)
	r.inline = r.inline[n:]
	r.n += int64(n)
	return n, nil
}

// pass goes on inside an object.
func (r *chunkReader) pass(n int64) {
	r.hollow -= n
	r.n += n
}

// Seek goes on from where we are, which is all that archive/tar wants, but not further than the end of an
// object: archive/tar reads what is left to be passed over.
func (r *chunkReader) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 {
		return 0, errors.ErrUnsupported
	}
	r.pass(min(offset, r.hollow))
	return r.n, nil
}

// drain reads what is behind the last entry, and holds the stream to its size.
func (r *chunkReader) drain() error {
	for r.advance() == nil {
		if !r.next.IsZero() {
			return errObject
		}
		r.n += int64(len(r.inline))
		r.inline = nil
	}
	if !errors.Is(r.err, io.EOF) {
		return r.err
	}
	if r.n != r.size {
		return fmt.Errorf("%w: %d bytes of a stream of %d", ErrFormat, r.n, r.size)
	}
	return nil
}
