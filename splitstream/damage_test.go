package splitstream_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/splitstream"
)

// sample returns a small splitstream with everything in it.
func sample(t testing.TB) ([]byte, store) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(7, 7))
	objects := store{}
	var pieces []piece
	for range 3 {
		content := noise(rnd, 100)
		pieces = append(pieces, piece{content: text(rnd, 512)}, piece{content, objects.put(t, fsverity.SHA256, content)})
	}
	file := write(t, splitstream.WriterOptions{ContentType: splitstream.Layer}, pieces, func(w *splitstream.Writer) {
		w.NamedRef("config", objects.put(t, fsverity.SHA256, []byte("c")))
		w.NamedRef("äöü", objects.put(t, fsverity.SHA256, []byte("d")))
	})
	return file, objects
}

// readAll reads everything of a file.
func readAll(file []byte, size int64, objects store) ([]byte, error) {
	r, err := splitstream.Open(bytes.NewReader(file), size, splitstream.ReaderOptions{})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_, err = r.WriteTo(&b, objects.open)
	return b.Bytes(), err
}

func TestEveryTruncationIsFound(t *testing.T) {
	file, objects := sample(t)
	for n := range file {
		if _, err := readAll(file[:n], int64(n), objects); !errors.Is(err, splitstream.ErrCorrupt) {
			t.Errorf("the first %d of %d bytes: %v", n, len(file), err)
		}
		// A file that has become shorter since its size was asked for.
		if _, err := readAll(file[:n], int64(len(file)), objects); !errors.Is(err, splitstream.ErrCorrupt) {
			t.Errorf("the first %d of %d bytes, unnoticed: %v", n, len(file), err)
		}
	}
}

func TestEveryFlippedBitOfTheStreamIsFound(t *testing.T) {
	file, objects := sample(t)
	want, err := readAll(file, int64(len(file)), objects)
	if err != nil {
		t.Fatal(err)
	}
	silent := 0
	for i := range file {
		for bit := range 8 {
			damaged := bytes.Clone(file)
			damaged[i] ^= 1 << bit
			got, err := readAll(damaged, int64(len(damaged)), objects)
			switch {
			case err == nil && !bytes.Equal(got, want):
				t.Errorf("byte %d, bit %d: another stream, and no error", i, bit)
			case err == nil:
				silent++ // flags, content type, refs without chunk, unused bits of frames
			case !errors.Is(err, splitstream.ErrCorrupt) && !errors.Is(err, splitstream.ErrUnsupported) && !errors.Is(err, errNoObject):
				t.Errorf("byte %d, bit %d: error of another kind: %v", i, bit, err)
			}
		}
	}
	// Flags and content type have 10 bytes, two stream refs 64; names are not in the stream.
	if most := 8 * (10 + 64 + 20); silent > most {
		t.Errorf("%d of %d flips made no difference, expected up to %d", silent, 8*len(file), most)
	}
}

func TestBreakingOffIsNoError(t *testing.T) {
	file, _ := sample(t)
	r := open(t, file, splitstream.ReaderOptions{})
	for range 3 { // with the same decoder from the pool
		for _, err := range r.Chunks() {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	for range r.References() {
		break
	}
}

// shortWriter takes n bytes.
type shortWriter struct{ n int }

var errFull = errors.New("no space left")

func (w *shortWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.n)
	w.n -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestFullDiskIsReportedWithThePosition(t *testing.T) {
	file, objects := sample(t)
	r := open(t, file, splitstream.ReaderOptions{})
	for n := range int(r.Size()) {
		got, err := r.WriteTo(&shortWriter{n}, objects.open)
		if !errors.Is(err, errFull) || got != int64(n) {
			t.Fatalf("room for %d bytes: wrote %d, %v", n, got, err)
		}
	}
	if got, err := r.WriteTo(&shortWriter{int(r.Size())}, objects.open); err != nil {
		t.Errorf("room enough: wrote %d, %v", got, err)
	}
	for n := 0; n < len(file); n += 11 {
		w := splitstream.NewWriter(splitstream.WriterOptions{})
		if _, err := w.Write(file); err != nil {
			t.Fatal(err)
		}
		if got, err := w.Finish(&shortWriter{n}); !errors.Is(err, errFull) || got != int64(n) {
			t.Fatalf("room for %d bytes: wrote %d, %v", n, got, err)
		}
		if _, err := w.Finish(io.Discard); err == nil {
			t.Fatal("finished twice")
		}
	}
}
