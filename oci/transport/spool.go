package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Magic numbers of compressed data: RFC 1952 and RFC 8878.
var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// Nothing that is honest becomes more than maxRatio times as large, once it is larger than bombFloor. It is
// the measure by which layers are judged too: gzip(1) makes a thousandth of zeros.
const (
	maxRatio  = 2000
	bombFloor = 64 << 20
)

// seekable returns f if it is a regular file that is not compressed, else an unnamed file with what it
// holds. It takes over f.
func seekable(ctx context.Context, f *os.File, opts *Options) (*os.File, error) {
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	if info.IsDir() {
		f.Close()
		return nil, errors.New("is a directory")
	}
	head := make([]byte, 4)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		f.Close()
		return nil, err
	}
	head = head[:n]
	if info.Mode().IsRegular() && !compressed(head) {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			f.Close()
			return nil, err
		}
		return f, nil
	}
	defer f.Close()
	spool, err := tempFile(opts)
	if err != nil {
		return nil, err
	}
	in, err := decompress(head, io.MultiReader(bytes.NewReader(head), readUntil(ctx, f)))
	if err == nil {
		_, err = io.Copy(spool, in)
		err = errors.Join(err, in.Close())
	}
	if err == nil {
		_, err = spool.Seek(0, io.SeekStart)
	}
	if err != nil {
		spool.Close()
		return nil, fmt.Errorf("spool: %w", err)
	}
	return spool, nil
}

// tempFile returns a file that is gone when it is closed.
func tempFile(opts *Options) (*os.File, error) {
	f, err := os.CreateTemp(opts.TempDir, "composefs-*.tmp")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func compressed(head []byte) bool {
	return bytes.HasPrefix(head, gzipMagic) || bytes.HasPrefix(head, zstdMagic)
}

// decompress returns what r holds, of which head is the beginning, without its compression. What
// grows beyond reason gives ErrLimit.
func decompress(head []byte, r io.Reader) (io.ReadCloser, error) {
	in := &counted{r: r}
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		return &inflated{from: z, in: in, end: z.Close}, nil
	case bytes.HasPrefix(head, zstdMagic):
		z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(128<<20), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return &inflated{from: z, in: in, end: func() error { z.Close(); return nil }}, nil
	}
	return io.NopCloser(r), nil
}

type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

type inflated struct {
	from io.Reader
	in   *counted
	n    int64
	end  func() error
}

func (i *inflated) Read(p []byte) (int, error) {
	n, err := i.from.Read(p)
	i.n += int64(n)
	if i.n > bombFloor && i.n/maxRatio > i.in.n {
		return n, fmt.Errorf("%w: %d bytes became %d", ErrLimit, i.in.n, i.n)
	}
	return n, err
}

func (i *inflated) Close() error { return i.end() }
