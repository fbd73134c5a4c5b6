package layer_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/splitstream"
)

// wantSplit holds what is made without a tree against a tar.
func wantSplit(t *testing.T, archive, diffID, plain []byte) {
	t.Helper()
	store := &memory{}
	w := splitstream.NewWriter(splitstream.WriterOptions{ContentType: splitstream.Layer})
	defer w.Close()
	l, err := layer.Read(t.Context(), bytes.NewReader(archive), layer.Options{Store: store, Stream: w, NoTree: true, MaxSparse: 1 << 20})
	if err != nil {
		t.Fatalf("without a tree: %v", err)
	}
	if !bytes.Equal(l.DiffID, diffID) {
		t.Error("without a tree the diff_id is another one")
	}
	var file bytes.Buffer
	if _, err := w.Finish(&file); err != nil {
		t.Fatal(err)
	}
	end := int64(0)
	for e, err := range layer.Entries(t.Context(), openStream(t, file.Bytes()), layer.EntriesOptions{Store: store, MaxSparse: 1 << 20}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Offset < end || e.Offset%512 != 0 || e.Offset+512 > int64(len(plain)) {
			t.Fatalf("entry %q at byte %d, behind one at %d", e.Header.Name, e.Offset, end)
		}
		end = e.Offset + 512
	}
}

// FuzzRead holds what is accepted to giving back the same bytes, and a tree that makes an image.
func FuzzRead(f *testing.F) {
	f.Fuzz(func(t *testing.T, archive []byte) {
		store := &memory{}
		w := splitstream.NewWriter(splitstream.WriterOptions{ContentType: splitstream.Layer})
		defer w.Close()
		opts := layer.Options{Store: store, Stream: w, MaxEntries: 5000, MaxSparse: 1 << 20}
		l, err := layer.Read(t.Context(), io.LimitReader(bytes.NewReader(archive), 1<<20), opts)
		if err != nil {
			return
		}
		plain, err := layer.Decompress(bytes.NewReader(archive))
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		want, err := io.ReadAll(plain)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
		if got := store.stream(t, w); !bytes.Equal(got, want) {
			t.Errorf("the stream gives back %d bytes, not the tar's %d", len(got), len(want))
		}
		imageOf(t, l.Root)
		wantSplit(t, archive, l.DiffID, want)
	})
}
