package compress

import (
	"archive/tar"
	"bytes"
	stdgzip "compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// realTar returns a tar of 64 MiB of Go's own files: sources, archives and programs.
func realTar(b *testing.B) []byte {
	b.Helper()
	const size = 64 << 20
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Skipf("no go command: %v", err)
	}
	root := filepath.Join(strings.TrimSpace(string(goroot)), "src")
	if exe, err := os.Executable(); err == nil {
		addFile(b, w, exe)
	}
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		addFile(b, w, path)
		if out.Len() > size {
			return fs.SkipAll
		}
		return nil
	})
	if err != nil {
		b.Skip(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

func addFile(b *testing.B, w *tar.Writer, path string) {
	b.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	if err := w.WriteHeader(&tar.Header{Name: path[1:], Mode: 0o644, Size: int64(len(data))}); err != nil {
		b.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkCompress(b *testing.B) {
	plain := realTar(b)
	one := func(f func(io.Writer) (io.WriteCloser, error)) func(*testing.B) {
		return func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			var n counting
			for b.Loop() {
				n = 0
				w, err := f(&n)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := w.Write(plain); err != nil {
					b.Fatal(err)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/float64(len(plain)), "ratio")
		}
	}
	b.Run("go gzip, one thread", one(func(w io.Writer) (io.WriteCloser, error) { return stdgzip.NewWriter(w), nil }))
	b.Run("klauspost gzip, one thread", one(func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }))
	b.Run("NewGzip", one(func(w io.Writer) (io.WriteCloser, error) { return NewGzip(w, DefaultLevel, 0) }))
	b.Run("klauspost zstd, one thread", one(func(w io.Writer) (io.WriteCloser, error) {
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	}))
	b.Run("NewZstd", one(func(w io.Writer) (io.WriteCloser, error) { return NewZstd(w, DefaultLevel, 0) }))
	b.Run("NewZstdChunked", one(func(w io.Writer) (io.WriteCloser, error) { return NewZstdChunked(w, ChunkedOptions{}) }))
}

func BenchmarkProber(b *testing.B) {
	plain := realTar(b)
	for _, name := range []string{"go -1", "pgzip -1", "zstd default by 1", "zstd best by 1", "NewZstdChunked"} {
		blob := compressWith(b, encoders[name], plain)
		b.Run(fmt.Sprint("finds ", name), func(b *testing.B) {
			for b.Loop() {
				if _, ok := probe(blob, plain); !ok {
					b.Fatal("no recipe")
				}
			}
		})
	}
}

type counting int64

func (c *counting) Write(b []byte) (int, error) {
	*c += counting(len(b))
	return len(b), nil
}
