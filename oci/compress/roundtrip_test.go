package compress

import (
	"archive/tar"
	"bytes"
	stdgzip "compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
)

// sampleTar returns a tar of about this size, of text, zeros and noise.
func sampleTar(t testing.TB, size int) []byte {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, uint64(size)))
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; b.Len() < size; i++ {
		n := rnd.IntN(40000)
		content := make([]byte, 0, n)
		for len(content) < n {
			switch rnd.IntN(8) {
			case 0:
				content = append(content, make([]byte, rnd.IntN(500))...)
			case 1:
				for range rnd.IntN(200) {
					content = append(content, byte(rnd.Uint32()))
				}
			default:
				content = fmt.Appendf(content, "Package: lib%d\nVersion: 1.%d\n", rnd.IntN(5000), rnd.IntN(40))
			}
		}
		h := &tar.Header{Name: fmt.Sprintf("usr/share/doc/%d/file%d", i/20, i), Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(1700000000+int64(i), 0)}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// encoders are those of others, as they open them.
var encoders = map[string]func(io.Writer) (io.WriteCloser, error){
	"none": func(w io.Writer) (io.WriteCloser, error) { return nopCloser{w}, nil },
	"go with name and time": func(w io.Writer) (io.WriteCloser, error) {
		z := stdgzip.NewWriter(w)
		z.Name, z.Comment, z.Extra, z.ModTime, z.OS = "layer-é.tar", "made by hand", []byte("xx"), time.Unix(1700000000, 0), 3
		return z, nil
	},
	"zstd of containers/image": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
	"zstd without checksum": func(w io.Writer) (io.WriteCloser, error) {
		return zstd.NewWriter(w, zstd.WithEncoderCRC(false))
	},
	"zstd with a window of another version": func(w io.Writer) (io.WriteCloser, error) {
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithWindowSize(16<<20))
	},
	"NewZstdChunked":   func(w io.Writer) (io.WriteCloser, error) { return NewZstdChunked(w, ChunkedOptions{Level: 3}) },
	"NewZstdChunked 9": func(w io.Writer) (io.WriteCloser, error) { return NewZstdChunked(w, ChunkedOptions{Level: 9, Jobs: 3}) },
	"NewGzip":          func(w io.Writer) (io.WriteCloser, error) { return NewGzip(w, DefaultLevel, 0) },
	"NewGzip 9":        func(w io.Writer) (io.WriteCloser, error) { return NewGzip(w, 9, 3) },
	"NewZstd":          func(w io.Writer) (io.WriteCloser, error) { return NewZstd(w, DefaultLevel, 0) },
	"NewZstd 19":       func(w io.Writer) (io.WriteCloser, error) { return NewZstd(w, 19, 1) },
}

// likely are the encoders for which a blob is made that is larger than what a Prober keeps.
var likely = map[string]bool{
	"none": true, "go -1": true, "go 1": true, "go 9": true, "go -2": true, "klauspost -1": true, "klauspost 9": true, "pgzip -1": true,
	"pgzip 1": true, "pgzip 9": true, "umoci -1": true, "zstd fastest by 2": true, "zstd default by 1": true, "zstd default by 5": true,
	"zstd better by 2": true, "NewGzip": true, "NewZstd": true, "NewZstdChunked": true, "NewZstdChunked 9": true,
}

func init() {
	for level := stdgzip.HuffmanOnly; level <= 9; level++ {
		encoders[fmt.Sprint("go ", level)] = func(w io.Writer) (io.WriteCloser, error) { return stdgzip.NewWriterLevel(w, level) }
		encoders[fmt.Sprint("klauspost ", level)] = func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriterLevel(w, level) }
		encoders[fmt.Sprint("pgzip ", level)] = func(w io.Writer) (io.WriteCloser, error) { return pgzip.NewWriterLevel(w, level) }
		encoders[fmt.Sprint("umoci ", level)] = func(w io.Writer) (io.WriteCloser, error) {
			z, err := pgzip.NewWriterLevel(w, level)
			if err != nil {
				return nil, err
			}
			return z, z.SetConcurrency(256<<10, 2)
		}
	}
	for level := zstd.SpeedFastest; level <= zstd.SpeedBestCompression; level++ {
		for _, jobs := range []int{1, 2, 5} {
			encoders[fmt.Sprintf("zstd %v by %d", level, jobs)] = func(w io.Writer) (io.WriteCloser, error) {
				return zstd.NewWriter(w, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(jobs))
			}
		}
	}
}

func TestABlobIsMadeAgain(t *testing.T) {
	for _, size := range []int{1, 70_000, 900_000, 3 << 20} {
		if testing.Short() && size > 1<<20 {
			continue
		}
		plain := sampleTar(t, size)
		for name, open := range encoders {
			t.Run(fmt.Sprint(name, " of ", len(plain)), func(t *testing.T) {
				if (testing.Short() || len(plain) > 2<<20) && !likely[name] {
					t.Skip("the small ones are enough")
				}
				blob := compressWith(t, open, plain)
				r, ok := probe(blob, plain)
				if !ok {
					t.Fatal("no recipe was found")
				}
				if again := compressWith(t, r.NewWriter, plain); !bytes.Equal(again, blob) {
					t.Errorf("%+v makes another blob of %d bytes instead of %d", r, len(again), len(blob))
				}
			})
		}
	}
}

func compressWith(t testing.TB, open func(io.Writer) (io.WriteCloser, error), plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	if err != nil {
		t.Fatal(err)
	}
	// In pieces of all sizes, as pipes give them.
	for i, rest := 1, plain; len(rest) > 0; i = i*3%65537 + 1 {
		n := min(i, len(rest))
		if _, err := w.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// probe shows a blob to a Prober, in pieces.
func probe(blob, plain []byte) (Recipe, bool) {
	p := NewProber()
	const piece = 50_000
	for len(blob) > 0 {
		n := min(piece, len(blob))
		p.Compressed(blob[:n])
		blob = blob[n:]
	}
	for len(plain) > 0 {
		n := min(piece, len(plain))
		p.Plain(plain[:n])
		plain = plain[n:]
	}
	return p.Recipe()
}
