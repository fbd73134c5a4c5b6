package compress

import (
	"bytes"
	stdflate "compress/flate"
	"errors"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// errDiffers ends a compressor whose output is not the blob.
var errDiffers = errors.New("compressed bytes differ")

// A comparer is a writer that takes only the bytes of a blob's beginning.
type comparer struct {
	want []byte // what has not come yet
	more bool   // the blob goes on after want
	n    int    // how many bytes were the same

	differs bool
}

func (c *comparer) Write(b []byte) (int, error) {
	n := min(len(b), len(c.want))
	if !bytes.Equal(b[:n], c.want[:n]) || n < len(b) && !c.more {
		c.differs = true
		return 0, errDiffers
	}
	c.want = c.want[n:]
	c.n += n
	return len(b), nil
}

// evidence is how many bytes have to be the same if not all of the blob is there: as many as another
// candidate does not have by chance.
const evidence = 4 << 10

// makes says whether the recipe makes the blob of the plain bytes, as far as they are there.
func (p *Prober) makes(r Recipe) bool {
	if p.complete() {
		return p.makesAll(r)
	}
	c := &comparer{want: p.blob, more: true}
	var err error
	switch r.Compressor {
	case nameNone:
		_, err = c.Write(p.plain)
	case nameZstd, nameZstdJobs:
		err = zstdBeginning(r, c, p.plain)
	case nameChunked:
		// It writes what is certain, and fails at the end because that is none.
		if w, errOpen := openChunked(c, zstd.EncoderLevel(r.Level), 1); errOpen == nil {
			_, _ = w.Write(p.plain)
			_ = w.Close()
		}
	default:
		start := gzipPayload(p.blob, r)
		if start == 0 {
			return false
		}
		c.want = c.want[start:]
		err = gzipBeginning(r, c, p.plain)
	}
	return err == nil && !c.differs && c.n >= evidence
}

// makesAll says whether the recipe makes the blob of the plain bytes, all of which are there.
func (p *Prober) makesAll(r Recipe) bool {
	c := &comparer{want: p.blob}
	w, err := r.NewWriter(c)
	if err != nil {
		return false
	}
	_, err = w.Write(p.plain)
	return errors.Join(err, w.Close()) == nil && len(c.want) == 0
}

// zstdBeginning compresses the beginning of a frame to w, in this goroutine. What the compressor holds back at the
// end is not the blob's, so it is not closed.
func zstdBeginning(r Recipe, w io.Writer, plain []byte) error {
	r.Compressor = nameZstd // which writes the first piece of nameZstdJobs
	z, err := openZstdJobs(r, w, 1)
	if err != nil {
		return err
	}
	_, err = z.Write(plain)
	return err
}

// gzipBeginning compresses the beginning of what follows a gzip header to w, in this goroutine. What the compressor
// holds back at the end is not the blob's, so it is not closed.
func gzipBeginning(r Recipe, w io.Writer, plain []byte) error {
	if r.Compressor == nameGo {
		z, err := stdflate.NewWriter(w, r.Level)
		if err != nil {
			return err
		}
		_, err = z.Write(plain)
		return err
	}
	if r.Compressor == namePgzip {
		return pgzipBeginning(r, w, plain)
	}
	z, err := flate.NewWriter(w, r.Level)
	if err != nil {
		return err
	}
	_, err = z.Write(plain)
	return err
}

// pgzipTail is how far pgzip looks back into the block before.
const pgzipTail = 16 << 10

// pgzipBeginning does one after the other what pgzip does at once.
func pgzipBeginning(r Recipe, w io.Writer, plain []byte) error {
	z, err := flate.NewWriterDict(w, r.Level, nil)
	if err != nil {
		return err
	}
	var tail []byte
	for len(plain) > 0 {
		block := plain[:min(r.Block, len(plain))]
		plain = plain[len(block):]
		z.ResetDict(w, tail)
		if _, err := z.Write(block); err != nil {
			return err
		}
		if len(block) < r.Block {
			return nil // this one goes on
		}
		if err := z.Flush(); err != nil {
			return err
		}
		tail = block[len(block)-pgzipTail:]
	}
	return nil
}
