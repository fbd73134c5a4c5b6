package erofs

import (
	"bytes"
	"errors"
)

// canonical writes the tree of a composefs image again and compares. Two different images of
// one tree have two digests: that does no harm to who has the digest, but who makes the image
// anew from the tree gets another.
func (c *checker) canonical() {
	if !c.img.head.present || c.found || c.done {
		return
	}
	root, err := c.img.Tree(TreeOptions{})
	if err != nil {
		c.failed(ProblemCanonical, -1, err)
		return
	}
	w := &comparer{win: &c.img.win}
	_, err = Write(w, root, WriteOptions{Format: c.img.head.format})
	switch {
	case errors.Is(err, errDiffers) || err == nil && w.off < c.img.win.size:
		c.note(ProblemCanonical, -1, w.off, "the %s image of this tree differs from there on", c.img.head.format)
	case err != nil:
		c.note(ProblemCanonical, -1, noOffset, "the tree cannot be written: %v", err)
	}
}

var errDiffers = errors.New("the image differs")

// comparer is a writer that compares what it gets with an image.
type comparer struct {
	win *window
	off uint64 // up to where both are equal
}

func (w *comparer) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		want, err := w.win.bytes(w.off, min(len(b)-done, 4096))
		if errors.Is(err, ErrCorrupt) {
			return done, errDiffers // it is longer
		}
		if err != nil {
			return done, err
		}
		got := b[done : done+len(want)]
		if !bytes.Equal(got, want) {
			for got[0] == want[0] {
				got, want = got[1:], want[1:]
				w.off++
			}
			return done, errDiffers
		}
		done += len(want)
		w.off += uint64(len(want))
	}
	return done, nil
}
