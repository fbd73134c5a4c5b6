package compress

import (
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
)

// DefaultLevel is the level at which most blobs are compressed, that which the compressor proposes.
const DefaultLevel = -1

const (
	// gzipBlock is what podman, buildah and skopeo compress at a time.
	gzipBlock = 1 << 20
	// zstdWindow makes pieces of 4 MiB. The levels' own windows would make some of 32 MiB, of which two for each
	// core are in memory, and a layer of a hundred megabytes would not keep eight cores busy.
	zstdWindow = 1 << 20
)

// NewGzip returns a writer that compresses what is written to it to w, in blocks of which jobs are compressed at
// a time, 0 for one for each core. The bytes are those that podman, buildah and skopeo make with the same version
// of the compressor, so that a registry that has theirs has ours. Level is from 1 to 9 or [DefaultLevel]; others are [ErrLevel]. Close ends
// the blob, and not w; it has to be called after an error as well.
func NewGzip(w io.Writer, level, jobs int) (io.WriteCloser, error) {
	if level != DefaultLevel && (level < 1 || level > 9) {
		return nil, fmt.Errorf("compress with gzip: %w: %d", ErrLevel, level)
	}
	z, err := newPgzip(w, level, gzipBlock, jobs)
	if err != nil {
		return nil, fmt.Errorf("compress with gzip: %w", err)
	}
	return z, nil
}

// NewZstd returns a writer that compresses what is written to it to w as one frame, in pieces of which jobs are
// compressed at a time, 0 for one for each core. Level is from 1 to 22 as zstd(1) has them, or [DefaultLevel]; others
// are [ErrLevel]. There are four compressors behind the levels. Close ends the blob, and not w; it has to be called
// after an error as well.
func NewZstd(w io.Writer, level, jobs int) (io.WriteCloser, error) {
	l, err := zstdLevel(level)
	if err != nil {
		return nil, fmt.Errorf("compress with zstd: %w", err)
	}
	z, err := openZstdJobs(Recipe{Compressor: nameZstdJobs, Level: int(l), Window: zstdWindow}, w, jobs)
	if err != nil {
		return nil, fmt.Errorf("compress with zstd: %w", err)
	}
	return z, nil
}

// zstdLevel gives the compressor of a level of zstd(1).
func zstdLevel(level int) (zstd.EncoderLevel, error) {
	if level == DefaultLevel {
		return zstd.SpeedDefault, nil
	}
	if level < 1 || level > 22 {
		return 0, fmt.Errorf("%w: %d", ErrLevel, level)
	}
	return zstd.EncoderLevelFromZstd(level), nil
}

// atLeastTwo gives a number of jobs with which the encoder works in pieces: with one it would not, and
// make other bytes.
func atLeastTwo(jobs int) int {
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	return max(jobs, 2)
}

// pgzipWriter is a pgzip.Writer whose goroutine ends with Close also after an error.
type pgzipWriter struct {
	*pgzip.Writer
	closed bool
}

func newPgzip(w io.Writer, level, block, jobs int) (*pgzipWriter, error) {
	z, err := pgzip.NewWriterLevel(w, level)
	if err != nil {
		return nil, err
	}
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	if err := z.SetConcurrency(block, jobs); err != nil {
		return nil, err
	}
	return &pgzipWriter{Writer: z}, nil
}

func (z *pgzipWriter) Close() error {
	if z.closed {
		return nil
	}
	z.closed = true
	err := z.Writer.Close()
	if err != nil {
		z.Reset(io.Discard)
	}
	return err
}
