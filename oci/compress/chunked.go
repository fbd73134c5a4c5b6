package compress

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"
)

// ErrTar reports a tar that zstd:chunked cannot say: it is broken, has two entries of one name, sparse files, entries
// of other types than files, links, directories and devices, names that are no UTF-8, or millions of entries. The layer
// has to be compressed otherwise.
var ErrTar = errors.New("not a tar for zstd:chunked")

// ChunkedOptions say how a zstd:chunked blob is made.
type ChunkedOptions struct {
	Level int // of zstd(1), from 1 to 22; 0 or DefaultLevel for its default
	Jobs  int // how many pieces are compressed at a time; 0 for one for each core
}

// Chunked writes a zstd:chunked blob of a tar. It is not safe for concurrent use.
type Chunked struct {
	in          *io.PipeWriter
	done        chan struct{}
	err         error // once done
	annotations map[string]string
}

// NewZstdChunked returns a writer that takes a tar and writes a zstd:chunked blob of it to w, see the package's
// documentation. Every content is hashed with SHA-256 on the way. Memory is about 8 MiB for each job, and grows with
// the number of entries by what the compressed headers take.
//
// Close has to be called, also after an error.
func NewZstdChunked(w io.Writer, opts ChunkedOptions) (*Chunked, error) {
	if opts.Level == 0 {
		opts.Level = DefaultLevel
	}
	level, err := zstdLevel(opts.Level)
	if err != nil {
		return nil, fmt.Errorf("compress with zstd:chunked: %w", err)
	}
	return openChunked(w, level, opts.Jobs)
}

func openChunked(w io.Writer, level zstd.EncoderLevel, jobs int) (*Chunked, error) {
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	frames, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(jobs))
	if err != nil {
		return nil, fmt.Errorf("compress with zstd:chunked: %w", err)
	}
	r, in := io.Pipe()
	c := &Chunked{in: in, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.annotations, c.err = writeChunked(w, bufio.NewReaderSize(r, 256<<10), frames, level, jobs)
		if c.err != nil {
			c.err = fmt.Errorf("compress with zstd:chunked: %w", c.err)
		}
		r.CloseWithError(c.err)
	}()
	return c, nil
}

// Write takes the next bytes of the tar.
func (c *Chunked) Write(p []byte) (int, error) { return c.in.Write(p) }

// Close ends the tar, and writes the table of contents and what else comes after the content; it does not
// close w. It fails with [ErrTar] if the tar cannot be said.
func (c *Chunked) Close() error {
	c.in.Close()
	<-c.done
	return c.err
}

// Annotations are those that the layer's descriptor has to have for others to find and to trust the table of
// contents. They are there after Close.
func (c *Chunked) Annotations() map[string]string { return c.annotations }

// writeChunked writes the blob of the tar r.
func writeChunked(w io.Writer, r io.Reader, frames *zstd.Encoder, level zstd.EncoderLevel, jobs int) (map[string]string, error) {
	toc, err := newTOCWriter(level)
	if err != nil {
		return nil, err
	}
	split, err := newTarSplit(level)
	if err != nil {
		return nil, err
	}
	p := startPieces(w, frames, toc, jobs)
	errTar := (&chunker{pieces: p, split: split}).run(r)
	// Why writing failed says more than that reading was given up.
	if err := p.wait(); err != nil {
		return nil, err
	}
	if errTar != nil {
		return nil, errTar
	}
	return writeTrailer(w, p.offset, toc, split)
}
