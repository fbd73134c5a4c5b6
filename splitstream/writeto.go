package splitstream

import (
	"fmt"
	"io"
	"sync"

	"github.com/go-composefs/composefs/fsverity"
)

// copyBuffers are for objects that the kernel cannot copy itself.
var copyBuffers = sync.Pool{New: func() any { return new([128 << 10]byte) }}

// WriteTo writes the stream as it was and returns how many bytes it wrote. The content of
// objects comes from open, which answers for their integrity; what it returns is closed. Never
// more than [Reader.Size] bytes are written, and less is an error.
func (s *Reader) WriteTo(w io.Writer, open func(fsverity.Digest) (io.ReadCloser, error)) (n int64, err error) {
	for c, err := range s.Chunks() {
		if err != nil {
			return n, fmt.Errorf("reassemble at byte %d: %w", n, err)
		}
		if c.Object.IsZero() {
			if int64(len(c.Inline)) > s.info.size-n {
				return n, fmt.Errorf("reassemble at byte %d: %w", n, s.tooLong())
			}
			m, err := w.Write(c.Inline)
			n += int64(m)
			if err != nil {
				return n, fmt.Errorf("reassemble at byte %d: %w", n, err)
			}
			continue
		}
		m, err := s.copyObject(w, c.Object, s.info.size-n, open)
		if err != nil {
			return n + m, fmt.Errorf("reassemble at byte %d: object %v: %w", n, c.Object, err)
		}
		n += m
	}
	if n != s.info.size {
		return n, corruptf("info", s.info.info.start+72, "the stream has %d bytes, its size is given as %d", n, s.info.size)
	}
	return n, nil
}

// copyObject writes an object, which must not have more than room bytes.
func (s *Reader) copyObject(w io.Writer, d fsverity.Digest, room int64,
	open func(fsverity.Digest) (io.ReadCloser, error),
) (n int64, err error) {
	r, err := open(d)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	buf, ok := copyBuffers.Get().(*[128 << 10]byte)
	if !ok {
		panic("splitstream: not a buffer in the pool")
	}
	defer copyBuffers.Put(buf)

	limited := &io.LimitedReader{R: r, N: room}
	if n, err = io.CopyBuffer(w, limited, buf[:]); err != nil || limited.N > 0 {
		return n, err
	}
	switch more, err := io.ReadFull(r, buf[:1]); {
	case more > 0:
		return n, s.tooLong()
	case err != io.EOF:
		return n, err
	}
	return n, nil
}

func (s *Reader) tooLong() error {
	return corruptf("stream", s.info.stream.start, "objects and inline bytes are more than its size of %d", s.info.size)
}
