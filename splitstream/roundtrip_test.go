package splitstream_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/splitstream"
)

// A store is objects in memory.
type store map[fsverity.Digest][]byte

func (s store) put(t testing.TB, alg fsverity.Algorithm, content []byte) fsverity.Digest {
	t.Helper()
	d, err := fsverity.Sum(alg, content)
	if err != nil {
		t.Fatal(err)
	}
	s[d] = content
	return d
}

var errNoObject = errors.New("no such object")

func (s store) open(d fsverity.Digest) (io.ReadCloser, error) {
	content, ok := s[d]
	if !ok {
		return nil, errNoObject
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

// A piece is a call of Write, or of Object if it has a digest.
type piece struct {
	content []byte
	object  fsverity.Digest
}

// write returns the splitstream of the pieces.
func write(t testing.TB, opts splitstream.WriterOptions, pieces []piece, more ...func(*splitstream.Writer)) []byte {
	t.Helper()
	w := splitstream.NewWriter(opts)
	for _, f := range more {
		f(w)
	}
	for _, p := range pieces {
		if !p.object.IsZero() {
			w.Object(p.object, int64(len(p.content)))
		} else if _, err := w.Write(p.content); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	n, err := w.Finish(&b)
	if err != nil {
		t.Fatal(err)
	}
	if n != int64(b.Len()) {
		t.Fatalf("Finish says %d bytes, wrote %d", n, b.Len())
	}
	return b.Bytes()
}

func open(t testing.TB, file []byte, opts splitstream.ReaderOptions) *splitstream.Reader {
	t.Helper()
	r, err := splitstream.Open(bytes.NewReader(file), int64(len(file)), opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// text returns n bytes that compress as tar headers do: well, not perfectly.
func text(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := 0; i < n; i += 64 {
		copy(b[i:], fmt.Sprintf("usr/share/doc/%x", rnd.Uint32()))
	}
	return b
}

func noise(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// randomPieces returns pieces and the objects in them, some more than once.
func randomPieces(t testing.TB, rnd *rand.Rand, alg fsverity.Algorithm, n int) ([]piece, store) {
	t.Helper()
	sizes := []int{0, 1, 7, 8, 9, 64, 65, 511, 512, 513, 4096, 65535, 65536, 65537, 200_000}
	objects, pieces := store{}, []piece(nil)
	for range n {
		size := sizes[rnd.IntN(len(sizes))]
		switch rnd.IntN(4) {
		case 0:
			content := noise(rnd, size)
			pieces = append(pieces, piece{content, objects.put(t, alg, content)})
		case 1:
			content := make([]byte, size)
			pieces = append(pieces, piece{content, objects.put(t, alg, content)})
		case 2:
			pieces = append(pieces, piece{content: noise(rnd, size)})
		case 3:
			pieces = append(pieces, piece{content: text(rnd, size)})
		}
	}
	return pieces, objects
}

// chunks returns the pieces that a splitstream has, inline ones joined.
func chunks(t testing.TB, r *splitstream.Reader, objects store) []piece {
	t.Helper()
	pieces, err := inMemory(r)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range pieces {
		if !p.object.IsZero() {
			pieces[i].content = objects[p.object]
		}
	}
	return pieces
}

func TestWhatIsWrittenComesBackAndIsWrittenAlike(t *testing.T) {
	for _, alg := range []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512} {
		for seed := range uint64(60) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			pieces, objects := randomPieces(t, rnd, alg, rnd.IntN(40))
			var named []splitstream.NamedRef
			var streams []fsverity.Digest
			refs := func(w *splitstream.Writer) {
				for range rnd.IntN(4) {
					d := objects.put(t, alg, noise(rnd, 9))
					streams = append(streams, d)
					w.StreamRef(d)
					w.StreamRef(d)
				}
				for i := range rnd.IntN(4) {
					d := objects.put(t, alg, noise(rnd, 9))
					streams = append(streams, d)
					named = append(named, splitstream.NamedRef{Name: fmt.Sprint("sha256:", i), Digest: d})
					w.NamedRef(named[i].Name, d)
				}
			}
			opts := splitstream.WriterOptions{Algorithm: alg, ContentType: splitstream.Layer}
			file := write(t, opts, pieces, refs)
			r := open(t, file, splitstream.ReaderOptions{Algorithm: alg, ContentType: splitstream.Layer})

			var want []byte
			var wantObjects []fsverity.Digest
			for _, p := range pieces {
				want = append(want, p.content...)
				if !p.object.IsZero() && !slices.Contains(wantObjects, p.object) {
					wantObjects = append(wantObjects, p.object)
				}
			}
			if r.Size() != uint64(len(want)) || r.Algorithm() != alg || r.ContentType() != splitstream.Layer {
				t.Fatalf("seed %d: size %d, %v, %v; wrote %d bytes", seed, r.Size(), r.Algorithm(), r.ContentType(), len(want))
			}
			var got bytes.Buffer
			if n, err := r.WriteTo(&got, objects.open); err != nil || n != int64(len(want)) {
				t.Fatalf("seed %d: WriteTo: %d of %d bytes, %v", seed, n, len(want), err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Fatalf("seed %d: the stream is not what was written", seed)
			}
			if diff := cmp.Diff(wantObjects, r.ObjectRefs(), cmp.Comparer(sameDigest)); diff != "" {
				t.Errorf("seed %d: object refs (-want +got):\n%s", seed, diff)
			}
			if diff := cmp.Diff(streams, r.StreamRefs(), cmp.Comparer(sameDigest)); diff != "" {
				t.Errorf("seed %d: stream refs (-want +got):\n%s", seed, diff)
			}
			all := slices.Concat(wantObjects, streams)
			if diff := cmp.Diff(all, slices.Collect(r.References()), cmp.Comparer(sameDigest)); diff != "" {
				t.Errorf("seed %d: references (-want +got):\n%s", seed, diff)
			}
			if !slices.Equal(named, r.NamedRefs()) {
				t.Errorf("seed %d: named refs are %v, want %v", seed, r.NamedRefs(), named)
			}

			again := write(t, opts, chunks(t, r, objects), func(w *splitstream.Writer) {
				for _, d := range r.StreamRefs() {
					w.StreamRef(d)
				}
				for _, n := range r.NamedRefs() {
					w.NamedRef(n.Name, n.Digest)
				}
			})
			if !bytes.Equal(file, again) {
				t.Errorf("seed %d: written again from its chunks, the file differs", seed)
			}
		}
	}
}

func sameDigest(a, b fsverity.Digest) bool { return a == b }

func TestScratchFileChangesNothing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	pieces := []piece{{content: noise(rnd, 9<<20)}, {content: text(rnd, 3<<20)}}
	files := 0
	var scratch *os.File
	opts := splitstream.WriterOptions{Scratch: func() (*os.File, error) {
		files++
		var err error
		scratch, err = os.Create(t.TempDir() + "/scratch")
		return scratch, err
	}}
	with := write(t, opts, pieces)
	if files != 1 {
		t.Fatalf("%d scratch files, want 1", files)
	}
	if err := scratch.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the scratch file is left open: %v", err)
	}
	without := write(t, splitstream.WriterOptions{}, pieces)
	if !bytes.Equal(with, without) {
		t.Error("the file depends on where the compressed stream was kept")
	}
	if files = 0; len(write(t, opts, pieces[1:])) > 4<<20 || files != 0 {
		t.Error("a scratch file for a small stream")
	}
}

func TestOneReaderServesManyGoroutines(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 9))
	pieces, objects := randomPieces(t, rnd, fsverity.SHA256, 40)
	r := open(t, write(t, splitstream.WriterOptions{}, pieces), splitstream.ReaderOptions{})
	var want []byte
	for _, p := range pieces {
		want = append(want, p.content...)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var b bytes.Buffer
			if _, err := r.WriteTo(&b, objects.open); err != nil || !bytes.Equal(b.Bytes(), want) {
				t.Errorf("%d bytes, want %d: %v", b.Len(), len(want), err)
			}
		})
	}
	wg.Wait()
}
