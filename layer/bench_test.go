package layer_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/objects"
	"github.com/go-composefs/composefs/splitstream"
)

// nowhere takes objects and keeps none.
type nowhere struct{ digest fsverity.Digest }

func (n nowhere) PutBytes(context.Context, []byte) (objects.Stored, error) {
	return objects.Stored{Digest: n.digest}, nil
}

func (n nowhere) PutReader(_ context.Context, r io.Reader) (objects.Stored, error) {
	_, err := io.Copy(io.Discard, r)
	return objects.Stored{Digest: n.digest}, err
}

// BenchmarkRead takes a tar of 20000 files apart, of which half are objects, which go nowhere: what is left is
// the tar itself.
func BenchmarkRead(b *testing.B) {
	var entries []entry
	for i := range 20_000 {
		entries = append(entries, file(fmt.Sprintf("usr/share/package%d/file%d", i/50, i), strings.Repeat("x", i%2*2000)))
	}
	archive := makeTar(b, entries...)
	digest, err := fsverity.Sum(fsverity.SHA256, nil)
	if err != nil {
		b.Fatal(err)
	}
	for name, noTree := range map[string]bool{"tree": false, "no tree": true} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(archive)))
			b.ReportAllocs()
			for b.Loop() {
				w := splitstream.NewWriter(splitstream.WriterOptions{ContentType: splitstream.Layer})
				opts := layer.Options{Store: nowhere{digest}, Stream: w, NoTree: noTree}
				if _, err := layer.Read(b.Context(), bytes.NewReader(archive), opts); err != nil {
					b.Fatal(err)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
