package layer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// ErrCompression reports a compression other than gzip and zstd.
var ErrCompression = errors.New("compression that is not supported")

// maxWindow is how many bytes of memory a zstd frame may ask for: what zstd(1) allows without options.
const maxWindow = 128 << 20

// magics are what compressed files begin with.
var magics = []struct{ name, magic string }{
	{"gzip", "\x1f\x8b"},
	{"zstd", "\x28\xb5\x2f\xfd"},
	{"zstd", "\x50\x2a\x4d\x18"}, // a skippable frame of no meaning, which pzstd begins with
	{"xz", "\xfd7zXZ\x00"},
	{"bzip2", "BZh"},
}

// compression names that of a file by its first bytes, or returns an empty string.
func compression(begin []byte) string {
	for _, m := range magics {
		if bytes.HasPrefix(begin, []byte(m.magic)) {
			return m.name
		}
	}
	return ""
}

// Detect says whether the first bytes of a file are those of a tar, which may be compressed. It knows
// tars by a mark that those lack that are older than POSIX. It wants 512 bytes.
func Detect(begin []byte) bool {
	const markAt = 257
	return compression(begin) != "" || len(begin) > markAt && bytes.HasPrefix(begin[markAt:], []byte("ustar"))
}

// Decompress returns the content of what may be compressed with gzip or zstd, found out by its first
// bytes. Close ends it, and not r.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 1<<20)
	begin, err := b.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch name := compression(begin); name {
	case "":
		return io.NopCloser(b), nil
	case "gzip":
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("decompress gzip: %w", err)
		}
		return decompressor{z, name}, nil
	case "zstd":
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("decompress zstd: %w", err)
		}
		return decompressor{z.IOReadCloser(), name}, nil
	default:
		return nil, fmt.Errorf("%w: %s", ErrCompression, name)
	}
}

// decompressor says in its errors what it is.
type decompressor struct {
	io.ReadCloser
	name string
}

func (d decompressor) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("decompress %s: %w", d.name, err)
	}
	return n, err
}
