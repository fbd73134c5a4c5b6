package compress

import (
	stdgzip "compress/gzip"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
)

// Names of compressors. The number changes with the output, see the package's documentation.
const (
	nameNone      = "none"
	nameGo        = "go-gzip/1"
	nameKlauspost = "klauspost-gzip/1"
	namePgzip     = "pgzip/1"
	nameZstd      = "klauspost-zstd/1"
	nameZstdJobs  = "klauspost-zstd-jobs/1"
	nameChunked   = "zstd-chunked/1"
)

// A compressor makes blobs by recipes.
type compressor struct {
	check func(Recipe) error
	open  func(Recipe, io.Writer) (io.WriteCloser, error)
}

var compressors = map[string]compressor{
	nameNone:      {func(Recipe) error { return nil }, openNone},
	nameGo:        {checkGzip, openGo},
	nameKlauspost: {checkGzip, openKlauspost},
	namePgzip:     {checkPgzip, openPgzip},
	nameZstd:      {checkZstd, openZstd},
	nameZstdJobs:  {checkZstdJobs, openZstd},
	nameChunked:   {checkChunked, openByChunks},
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func openNone(_ Recipe, w io.Writer) (io.WriteCloser, error) { return nopCloser{w}, nil }

func checkGzip(r Recipe) error {
	if r.Level < stdgzip.HuffmanOnly || r.Level > stdgzip.BestCompression {
		return fmt.Errorf("%w: %d", ErrLevel, r.Level)
	}
	if r.Header == nil {
		return errors.New("without a gzip header")
	}
	return nil
}

func checkPgzip(r Recipe) error {
	// Others are nobody's, and would take memory.
	if r.Block != gzipBlock && r.Block != umociBlock {
		return fmt.Errorf("blocks of %d bytes", r.Block)
	}
	return checkGzip(r)
}

// modTime gives the time of which a writer's 32 bits are those of the header. The standard library
// takes none before 1970, and the others the low bits of whatever there is.
func (h *GzipHeader) modTime() time.Time { return time.Unix(int64(h.ModTime), 0) }

func openGo(r Recipe, w io.Writer) (io.WriteCloser, error) {
	z, err := stdgzip.NewWriterLevel(w, r.Level)
	if err != nil {
		return nil, err
	}
	z.Header = stdgzip.Header{
		Name: r.Header.Name, Comment: r.Header.Comment, Extra: r.Header.Extra, ModTime: r.Header.modTime(), OS: r.Header.OS,
	}
	return z, nil
}

func openKlauspost(r Recipe, w io.Writer) (io.WriteCloser, error) {
	z, err := gzip.NewWriterLevel(w, r.Level)
	if err != nil {
		return nil, err
	}
	z.Header = gzip.Header{
		Name: r.Header.Name, Comment: r.Header.Comment, Extra: r.Header.Extra, ModTime: r.Header.modTime(), OS: r.Header.OS,
	}
	return z, nil
}

func openPgzip(r Recipe, w io.Writer) (io.WriteCloser, error) {
	z, err := newPgzip(w, r.Level, r.Block, 0)
	if err != nil {
		return nil, err
	}
	z.Header = pgzip.Header{
		Name: r.Header.Name, Comment: r.Header.Comment, Extra: r.Header.Extra, ModTime: r.Header.modTime(), OS: r.Header.OS,
	}
	return z, nil
}

func checkZstd(r Recipe) error {
	if r.Level < int(zstd.SpeedFastest) || r.Level > int(zstd.SpeedBestCompression) {
		return fmt.Errorf("%w: %d", ErrLevel, r.Level)
	}
	if w := r.Window; w != 0 && (w < zstd.MinWindowSize || w > maxRecipeWindow || w&(w-1) != 0) {
		return fmt.Errorf("a window of %d bytes", w)
	}
	if r.ContentSize < 0 {
		return fmt.Errorf("a content size of %d bytes", r.ContentSize)
	}
	return nil
}

// checkZstdJobs allows no other window than ours: a piece has four times its size, and there are many in memory.
func checkZstdJobs(r Recipe) error {
	if r.Window != zstdWindow {
		return fmt.Errorf("a window of %d bytes", r.Window)
	}
	return checkZstd(r)
}

const (
	// maxWindow is what anyone allows who reads zstd without asking for more.
	maxWindow = 128 << 20
	// maxRecipeWindow is the largest that any version of the compressor has had for a level.
	maxRecipeWindow = 32 << 20
)

func openZstd(r Recipe, w io.Writer) (io.WriteCloser, error) { return openZstdJobs(r, w, 0) }

// openZstdJobs opens a zstd compressor with so many jobs, 0 for one for each core.
func openZstdJobs(r Recipe, w io.Writer, jobs int) (io.WriteCloser, error) {
	opts := []zstd.EOption{
		zstd.WithEncoderLevel(zstd.EncoderLevel(r.Level)),
		zstd.WithEncoderCRC(!r.NoChecksum),
	}
	if r.Compressor == nameZstdJobs {
		opts = append(opts, zstd.WithConcurrentBlocks(true), zstd.WithEncoderConcurrency(atLeastTwo(jobs)))
	} else {
		opts = append(opts, zstd.WithEncoderConcurrency(jobs))
	}
	if r.Window != 0 {
		opts = append(opts, zstd.WithWindowSize(r.Window))
	}
	z, err := zstd.NewWriter(nil, opts...)
	if err != nil {
		return nil, err
	}
	if r.ContentSize > 0 {
		z.ResetContentSize(w, r.ContentSize)
	} else {
		z.Reset(w)
	}
	// Not the encoder itself: its ReadFrom begins a block of its own.
	return struct{ io.WriteCloser }{z}, nil
}

func checkChunked(r Recipe) error {
	return checkZstd(Recipe{Level: r.Level})
}

func openByChunks(r Recipe, w io.Writer) (io.WriteCloser, error) {
	return openChunked(w, zstd.EncoderLevel(r.Level), 0)
}
