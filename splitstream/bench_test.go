package splitstream_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"testing"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/splitstream"
)

// benchFiles is the number of files of the layer that benchmarks write and read: a header of
// 512 bytes and an object for each, as in a layer of a distribution.
const benchFiles = 20_000

// A benchLayer is what an importer of a layer has at hand.
type benchLayer struct {
	headers []byte
	digests []fsverity.Digest
}

func newBenchLayer(b *testing.B) benchLayer {
	b.Helper()
	var l benchLayer
	for i := range benchFiles {
		header := make([]byte, 512)
		copy(header, fmt.Sprintf("usr/share/package-%d/directory/file-%d.conf", i/50, i))
		copy(header[100:], "0000644\x000000000\x000000000\x00")
		copy(header[124:], fmt.Sprintf("%011o\x00%011o\x00%06o\x00 0", 1000+i*7%9000, 1700000000+i, i*31%20000))
		copy(header[257:], "ustar\x0000root")
		l.headers = append(l.headers, header...)
		d, err := fsverity.Sum(fsverity.SHA256, binary.LittleEndian.AppendUint64(nil, uint64(i)))
		if err != nil {
			b.Fatal(err)
		}
		l.digests = append(l.digests, d)
	}
	return l
}

func (l benchLayer) write(b *testing.B, w io.Writer) {
	b.Helper()
	s := splitstream.NewWriter(splitstream.WriterOptions{ContentType: splitstream.Layer})
	for i, d := range l.digests {
		_, _ = s.Write(l.headers[512*i:][:512]) // Finish has the error
		s.Object(d, 1000)
		_, _ = s.Write(make([]byte, 24))
	}
	if _, err := s.Finish(w); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkWrite counts inline bytes.
func BenchmarkWrite(b *testing.B) {
	l := newBenchLayer(b)
	var file bytes.Buffer
	b.SetBytes(benchFiles * (512 + 24))
	b.ReportAllocs()
	for b.Loop() {
		file.Reset()
		l.write(b, &file)
	}
	b.ReportMetric(float64(file.Len()), "file-bytes")
	b.ReportMetric(float64(file.Len()-32*benchFiles), "compressed-bytes")
}

// BenchmarkChunks counts inline bytes.
func BenchmarkChunks(b *testing.B) {
	var file bytes.Buffer
	newBenchLayer(b).write(b, &file)
	r, err := splitstream.Open(bytes.NewReader(file.Bytes()), int64(file.Len()), splitstream.ReaderOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(benchFiles * (512 + 24))
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range r.Chunks() {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkReferences opens a layer for what garbage collection needs of it.
func BenchmarkReferences(b *testing.B) {
	var file bytes.Buffer
	newBenchLayer(b).write(b, &file)
	b.ReportAllocs()
	for b.Loop() {
		r, err := splitstream.Open(bytes.NewReader(file.Bytes()), int64(file.Len()), splitstream.ReaderOptions{})
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for range r.References() {
			n++
		}
		if n != benchFiles {
			b.Fatalf("%d references", n)
		}
	}
}

// BenchmarkSmall writes and reads a configuration, where setting up is all the cost.
func BenchmarkSmall(b *testing.B) {
	d, err := fsverity.Sum(fsverity.SHA256, []byte("{}"))
	if err != nil {
		b.Fatal(err)
	}
	var file bytes.Buffer
	b.ReportAllocs()
	for b.Loop() {
		file.Reset()
		w := splitstream.NewWriter(splitstream.WriterOptions{ContentType: splitstream.Config})
		w.NamedRef("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", d)
		w.Object(d, 2)
		if _, err := w.Finish(&file); err != nil {
			b.Fatal(err)
		}
		r, err := splitstream.Open(bytes.NewReader(file.Bytes()), int64(file.Len()), splitstream.ReaderOptions{})
		if err != nil {
			b.Fatal(err)
		}
		for _, err := range r.Chunks() {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
