package oci

import (
	"io"

	"github.com/opencontainers/go-digest"
)

// Progress is told how far a pull or push is. Its methods are called by many goroutines.
type Progress interface {
	// Begin is told that a blob of size bytes is about to be moved.
	Begin(blob digest.Digest, size int64)
	// Add is told that n more bytes of it were.
	Add(blob digest.Digest, n int)
	// End is told what became of it.
	End(blob digest.Digest, how Outcome)
}

// Outcome is what became of a blob.
type Outcome string

// The outcomes.
const (
	OutcomeMoved   Outcome = "done"          // it was read or written
	OutcomePresent Outcome = "already there" // it was there already
	OutcomeFailed  Outcome = "failed"
)

// silent is a Progress that nobody watches.
type silent struct{}

func (silent) Begin(digest.Digest, int64) {}
func (silent) Add(digest.Digest, int)     {}
func (silent) End(digest.Digest, Outcome) {}

func progressOf(p Progress) Progress {
	if p == nil {
		return silent{}
	}
	return p
}

// watched tells a Progress of what is read.
type watched struct {
	r    io.Reader
	to   Progress
	blob digest.Digest
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.to.Add(w.blob, n)
	}
	return n, err
}
