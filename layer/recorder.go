package layer

import (
	"errors"
	"hash"
	"io"
)

// recorder hashes and counts what is read through it, and keeps what belongs inline.
type recorder struct {
	r    io.Reader
	hash hash.Hash
	n    int64 // bytes read
	// limit is how many may be read, and beyond the error of reading more.
	limit  int64
	beyond error
	// ended says that somebody wanted to read what is behind the end.
	ended bool

	keep bool
	kept []byte
	// scattered says that what is kept need not stay together: pass gets it in parts.
	scattered bool
	pass      func([]byte)
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.hash.Write(p[:n])
	if r.n += int64(n); r.n > r.limit {
		return 0, r.beyond
	}
	r.ended = n == 0 && errors.Is(err, io.EOF)
	if r.keep {
		r.kept = append(r.kept, p[:n]...)
		if r.scattered && len(r.kept) >= runSize {
			r.pass(r.take())
		}
	}
	return n, err
}

// take returns what was kept, which is the caller's.
func (r *recorder) take() []byte {
	kept := r.kept
	r.kept = nil
	return kept
}

// takeUpTo is take for what lies before a place in the tar.
func (r *recorder) takeUpTo(end int64) []byte {
	later := int(min(max(0, r.n-end), int64(len(r.kept))))
	kept := r.kept[:len(r.kept)-later]
	r.kept = append([]byte(nil), r.kept[len(kept):]...)
	return kept
}
