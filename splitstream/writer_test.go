package splitstream_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/splitstream"
)

func TestMistakesOfTheCallerAreReportedByFinish(t *testing.T) {
	d, long := digest(t, helloHex), digest(t, helloHex+layerHex)
	other := digest(t, layerHex)
	type writer = splitstream.Writer
	for _, test := range []struct {
		name string
		opts splitstream.WriterOptions
		use  func(w *writer)
		text string
	}{
		{"blocks of 64 KiB", splitstream.WriterOptions{Algorithm: fsverity.SHA256x64}, func(*writer) {}, "fsverity-sha256-16"},
		{"object of another hash", splitstream.WriterOptions{}, func(w *writer) { w.Object(long, 1) }, "not a digest of fsverity-sha256-12"},
		{"stream of another hash", splitstream.WriterOptions{Algorithm: fsverity.SHA512}, func(w *writer) { w.StreamRef(d) }, "not a digest of fsverity-sha512-12"},
		{"no digest", splitstream.WriterOptions{}, func(w *writer) { w.NamedRef("x", fsverity.Digest{}) }, "not a digest"},
		{"negative size", splitstream.WriterOptions{}, func(w *writer) { w.Object(d, -1) }, "of -1 bytes"},
		{"size of 2^64", splitstream.WriterOptions{}, func(w *writer) { w.Object(d, math.MaxInt64); w.Object(d, 1) }, "a stream of more than"},
		{"name with NUL", splitstream.WriterOptions{}, func(w *writer) { w.NamedRef("a\x00b", d) }, `"a\x00b"`},
		{"name that is not UTF-8", splitstream.WriterOptions{}, func(w *writer) { w.NamedRef("\xff", d) }, "UTF-8"},
		{"name with two meanings", splitstream.WriterOptions{}, func(w *writer) { w.NamedRef("a", d); w.NamedRef("a", other) }, "twice"},
		{"too long a name", splitstream.WriterOptions{}, func(w *writer) { w.NamedRef(strings.Repeat("x", 5<<20), d) }, "more than 65536 named refs, or of 4194304 bytes"},
		{"too many names", splitstream.WriterOptions{}, func(w *writer) {
			for i := range 1<<16 + 1 {
				w.NamedRef(fmt.Sprint(i), d)
			}
		}, "more than 65536 named refs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := splitstream.NewWriter(test.opts)
			test.use(w)
			if _, err := w.Write([]byte("x")); err == nil {
				t.Error("Write goes on")
			}
			var b bytes.Buffer
			_, err := w.Finish(&b)
			if err == nil || !strings.Contains(err.Error(), test.text) || b.Len() > 0 {
				t.Errorf("wrote %d bytes, error %v, want %q", b.Len(), err, test.text)
			}
		})
	}
}

func TestNamesMayBeAnyText(t *testing.T) {
	d, other := digest(t, helloHex), digest(t, layerHex)
	file := write(t, splitstream.WriterOptions{}, nil, func(w *splitstream.Writer) {
		w.NamedRef("b:c:", d)
		w.NamedRef("", other)
		w.NamedRef("a\nß", d)
		w.NamedRef("b:c:", d)
	})
	r := open(t, file, splitstream.ReaderOptions{})
	if got := fmt.Sprint(r.NamedRefs()); got != fmt.Sprintf("[{ %v} {a\nß %v} {b:c: %v}]", other, d, d) {
		t.Errorf("named refs %q", got)
	}
	if len(r.StreamRefs()) != 2 {
		t.Errorf("stream refs %v", r.StreamRefs())
	}
}

// TestBytesOfOneWriteStayTogether is about the tar reader of composefs-rs 0.9.
func TestBytesOfOneWriteStayTogether(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 4))
	w := splitstream.NewWriter(splitstream.WriterOptions{})
	ends, size := map[int]bool{}, 0
	for size < 5<<20 {
		n := 1 + rnd.IntN(100_000)
		if rnd.IntN(20) == 0 {
			n = 1<<20 + rnd.IntN(3) - 1
		}
		if _, err := w.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		size += n
		ends[size] = true
	}
	var b bytes.Buffer
	if _, err := w.Finish(&b); err != nil {
		t.Fatal(err)
	}
	stream, at, n := decompressStream(t, b.Bytes()), 0, 0
	for len(stream) > 0 {
		length := int(-int64(le64(stream)))
		at += length
		if !ends[at] {
			t.Fatalf("chunk %d ends at byte %d, inside of a Write", n, at)
		}
		stream = stream[8+length:]
		n++
	}
	if n < 4 || at != size {
		t.Errorf("%d chunks of %d bytes, want several of %d", n, at, size)
	}
}

func TestEmptyObjectsAreKeptAsRefs(t *testing.T) {
	objects := store{}
	empty := objects.put(t, fsverity.SHA256, nil)
	file := write(t, splitstream.WriterOptions{}, []piece{{nil, empty}, {nil, empty}, {nil, empty}, {nil, empty}})
	r := open(t, file, splitstream.ReaderOptions{})
	if n, err := r.WriteTo(io.Discard, objects.open); n != 0 || err != nil || len(r.ObjectRefs()) != 1 {
		t.Errorf("%d bytes, %d refs, %v", n, len(r.ObjectRefs()), err)
	}
}

func TestScratchFileThatFailsIsReported(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 5))
	big := noise(rnd, 6<<20)
	for name, scratch := range map[string]func() (*os.File, error){
		"none to have": func() (*os.File, error) { return nil, errFull },
		"read-only": func() (*os.File, error) {
			return os.Open(t.TempDir())
		},
	} {
		w := splitstream.NewWriter(splitstream.WriterOptions{Scratch: scratch})
		_, _ = w.Write(big)
		if _, err := w.Write(big); err == nil {
			t.Errorf("%s: Write goes on", name)
		}
		if _, err := w.Finish(io.Discard); err == nil || name == "none to have" && !errors.Is(err, errFull) {
			t.Errorf("%s: Finish: %v", name, err)
		}
	}
}

func TestGivingUpClosesTheScratchFile(t *testing.T) {
	var scratch *os.File
	w := splitstream.NewWriter(splitstream.WriterOptions{Scratch: func() (*os.File, error) {
		var err error
		scratch, err = os.CreateTemp(t.TempDir(), "")
		return scratch, err
	}})
	if _, err := w.Write(noise(rand.New(rand.NewPCG(6, 6)), 6<<20)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if scratch == nil {
		t.Fatal("no scratch file")
	}
	if err := scratch.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("left open: %v", err)
	}
	w.Object(digest(t, helloHex), 1)
	if _, err := w.Finish(io.Discard); err == nil {
		t.Error("finished after Close")
	}
}
