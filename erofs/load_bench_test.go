package erofs_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/go-composefs/composefs/erofs"
)

func BenchmarkTree(b *testing.B) {
	for _, n := range []int{64_000, 1_000_000} {
		var image bytes.Buffer
		if _, err := erofs.Write(&image, osTree(b, n), erofs.WriteOptions{Format: erofs.FormatV1}); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(image.Len()))
			for b.Loop() {
				loadTree(b, image.Bytes())
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	var image bytes.Buffer
	if _, err := erofs.Write(&image, osTree(b, 64_000), erofs.WriteOptions{Format: erofs.FormatV1}); err != nil {
		b.Fatal(err)
	}
	img := openImage(b, image.Bytes())
	b.ReportAllocs()
	b.SetBytes(int64(image.Len()))
	for b.Loop() {
		for p := range img.Check(erofs.CheckOptions{}) {
			if !p.Note {
				b.Fatal(p)
			}
		}
	}
}
