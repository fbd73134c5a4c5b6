package layer_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/splitstream"
)

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
	})
}
