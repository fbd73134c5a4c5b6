package splitstream_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/go-composefs/composefs/splitstream"
)

// fuzzAlloc is what reading a small file may take, in bytes: the decoder's window, which it
// holds twice, refs and names.
const fuzzAlloc = 64 << 20

// FuzzReader holds what is accepted to being written and read again without a change.
func FuzzReader(f *testing.F) {
	f.Fuzz(func(t *testing.T, file []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		opts := splitstream.ReaderOptions{MaxSize: 64 << 20}
		r, err := splitstream.Open(bytes.NewReader(file), int64(len(file)), opts)
		if err != nil {
			wantKnownError(t, err)
			return
		}
		pieces, err := inMemory(r)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > fuzzAlloc+8*r.Size() {
			t.Errorf("%d bytes allocated for a file of %d", got, len(file))
		}
		if err != nil {
			wantKnownError(t, err)
			return
		}

		// Objects get sizes that the stream has room for.
		room := int64(r.Size())
		objects := int64(0)
		for _, p := range pieces {
			if p.object.IsZero() {
				room -= int64(len(p.content))
			} else {
				objects++
			}
		}
		w := splitstream.NewWriter(splitstream.WriterOptions{Algorithm: r.Algorithm(), ContentType: r.ContentType()})
		for _, d := range r.StreamRefs() {
			w.StreamRef(d)
		}
		for _, n := range r.NamedRefs() {
			w.NamedRef(n.Name, n.Digest)
		}
		for _, p := range pieces {
			if p.object.IsZero() {
				if _, err := w.Write(p.content); err != nil {
					t.Fatal(err)
				}
				continue
			}
			size := room / objects
			room, objects = room-size, objects-1
			w.Object(p.object, size)
		}
		var b bytes.Buffer
		if _, err := w.Finish(&b); err != nil {
			t.Fatal(err)
		}
		again, err := splitstream.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), opts)
		if err != nil {
			t.Fatal(err)
		}
		if again.Size() != r.Size() || again.ContentType() != r.ContentType() || !slices.Equal(again.NamedRefs(), r.NamedRefs()) {
			t.Errorf("%d bytes, %v, %v: written again %d bytes, %v, %v", r.Size(), r.ContentType(), r.NamedRefs(),
				again.Size(), again.ContentType(), again.NamedRefs())
		}
		piecesAgain, err := inMemory(again)
		if err != nil {
			t.Fatal(err)
		}
		// Of an empty object only the first use is written.
		if len(pieces) == len(piecesAgain) && !slices.EqualFunc(pieces, piecesAgain, samePiece) {
			t.Error("written again, chunks differ")
		}
	})
}

// inMemory returns the chunks, inline ones joined, or an error.
func inMemory(r *splitstream.Reader) ([]piece, error) {
	var pieces []piece
	for c, err := range r.Chunks() {
		if err != nil {
			return nil, err
		}
		last := len(pieces) - 1
		switch {
		case !c.Object.IsZero():
			pieces = append(pieces, piece{object: c.Object})
		case last >= 0 && pieces[last].object.IsZero():
			pieces[last].content = append(pieces[last].content, c.Inline...)
		default:
			pieces = append(pieces, piece{content: bytes.Clone(c.Inline)})
		}
	}
	return pieces, nil
}

func wantKnownError(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, splitstream.ErrCorrupt) && !errors.Is(err, splitstream.ErrUnsupported) {
		t.Fatalf("error of another kind: %v", err)
	}
	for _, c := range []byte(err.Error()) {
		if c < ' ' || c == 0x7f {
			t.Fatalf("error with character %#x: %q", c, err)
		}
	}
}

func le64(b []byte) uint64 {
	var v uint64
	for i := range 8 {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}

// decompressStream returns the decompressed stream section, without this package's help.
func decompressStream(t *testing.T, file []byte) []byte {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(file[le64(file[64:]):le64(file[72:])]))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
