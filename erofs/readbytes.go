package erofs

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

// Metadata is read through a cache of pages. An image of the usual breadth-first order is read
// nearly in sequence; shared attributes, which come in any order, are what needs more pages.
//
// The image is never mapped into memory: a file that is truncated, or whose fs-verity check
// fails, would then end the process by SIGBUS, whereas a read reports an error.
const (
	pageBits  = 15
	pageSlots = 1024 // with the page size it bounds the cache to 32 MiB
)

type page struct {
	number uint64
	data   []byte // never written again once the page is in the cache
}

// window is an image's bytes and the only place where their bounds are checked. It is safe
// for concurrent use.
type window struct {
	r     io.ReaderAt
	size  uint64
	pages [pageSlots]atomic.Pointer[page]
}

// bytes returns n bytes at off, which the caller must not change. They stay valid.
func (w *window) bytes(off uint64, n int) ([]byte, error) {
	if off > w.size || uint64(n) > w.size-off {
		return nil, w.outside(off, uint64(n))
	}
	number, at := off>>pageBits, int(off&(1<<pageBits-1))
	if at+n > 1<<pageBits {
		b := make([]byte, n)
		return b, w.copyAt(b, off)
	}
	p := w.pages[number%pageSlots].Load()
	if p == nil || p.number != number {
		var err error
		if p, err = w.load(number); err != nil {
			return nil, err
		}
	}
	return p.data[at : at+n : at+n], nil
}

// load reads a page into its slot.
func (w *window) load(number uint64) (*page, error) {
	off := number << pageBits
	p := &page{number: number, data: make([]byte, min(1<<pageBits, w.size-off))}
	if err := w.read(p.data, off); err != nil {
		return nil, err
	}
	w.pages[number%pageSlots].Store(p)
	return p, nil
}

// copyAt fills b from off, page by page.
func (w *window) copyAt(b []byte, off uint64) error {
	for len(b) > 0 {
		n := min(len(b), 1<<pageBits-int(off&(1<<pageBits-1)))
		part, err := w.bytes(off, n)
		if err != nil {
			return err
		}
		copy(b, part)
		b, off = b[n:], off+uint64(n)
	}
	return nil
}

// read fills b from off and leaves the cache alone: it is for file data.
func (w *window) read(b []byte, off uint64) error {
	if off > w.size || uint64(len(b)) > w.size-off {
		return w.outside(off, uint64(len(b)))
	}
	n, err := w.r.ReadAt(b, int64(off))
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read image at byte %d: %w", off+uint64(n), err)
}

func (w *window) outside(off, n uint64) error {
	return corruptf(NoNid, off, "%d bytes are wanted there and the image has %d in all", n, w.size)
}
