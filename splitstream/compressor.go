package splitstream

import (
	"io"
	"os"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// windowSize is how far back the compressor looks, as libzstd does at the level that
// composefs-rs uses.
const windowSize = 2 << 20

// A compressor is what a Writer needs while it lives. It comes from a pool.
type compressor struct {
	zstd *zstd.Encoder
	run  []byte // inline bytes of the next chunk
	head [8]byte
}

var compressors = sync.Pool{New: func() any {
	z, err := zstd.NewWriter(nil,
		// One thread, or the blocks would depend on how writes are cut.
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithWindowSize(windowSize),
		// A store without fs-verity has no other check of the stream.
		zstd.WithEncoderCRC(true),
		// A section is never without a frame.
		zstd.WithZeroFrames(true))
	if err != nil {
		panic("splitstream: " + err.Error()) // the options are constant
	}
	return &compressor{zstd: z}
}}

// newCompressor returns a compressor that writes to out.
func newCompressor(out io.Writer) *compressor {
	c, ok := compressors.Get().(*compressor)
	if !ok {
		panic("splitstream: not a compressor in the pool")
	}
	c.run = c.run[:0]
	c.zstd.Reset(out)
	return c
}

// release returns the compressor to the pool.
func (c *compressor) release() {
	c.zstd.Reset(nil)
	compressors.Put(c)
}

// spoolSize is how much of a compressed stream stays in memory if there is a scratch file for
// more.
const spoolSize = 4 << 20

// A spool keeps what is written to it until it is wanted.
type spool struct {
	scratch func() (*os.File, error) // may be nil
	mem     []byte
	file    *os.File // holds everything, if it is there
	size    int64
}

func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && s.scratch != nil && len(s.mem)+len(p) > spoolSize {
		var err error
		if s.file, err = s.scratch(); err != nil {
			return 0, err
		}
		if _, err := s.file.Write(s.mem); err != nil {
			return 0, err
		}
		s.mem = nil
	}
	if s.file == nil {
		s.mem = append(s.mem, p...)
		s.size += int64(len(p))
		return len(p), nil
	}
	n, err := s.file.Write(p)
	s.size += int64(n)
	return n, err
}

func (s *spool) copyTo(w io.Writer) (int64, error) {
	if s.file == nil {
		n, err := w.Write(s.mem)
		return int64(n), err
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.CopyN(w, s.file, s.size)
	return n, err
}

func (s *spool) close() error {
	s.mem = nil
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}
