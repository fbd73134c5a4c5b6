package flatten_test

import (
	"fmt"
	"testing"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/oci/flatten"
)

// BenchmarkFlatten puts two layers of 20000 files on top of each other, of which most are objects.
func BenchmarkFlatten(b *testing.B) {
	var entries []entry
	for d := range 400 {
		entries = append(entries, dir(fmt.Sprintf("usr/share/package%d", d), 0o755))
		for i := range 50 {
			e := file(fmt.Sprintf("usr/share/package%d/file%d", d, i), fmt.Sprintf("%d %100d", i, d))
			if i == 0 {
				e.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01\x02"}
			}
			entries = append(entries, e)
		}
	}
	m := newMemory(fsverity.SHA256)
	s := m.split(b, makeTar(b, entries...))
	b.Run("entries", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			for _, err := range layer.Entries(b.Context(), s, layer.EntriesOptions{}) {
				if n++; err != nil {
					b.Fatal(err)
				}
			}
			if n != len(entries) {
				b.Fatalf("%d entries", n)
			}
		}
	})
	b.Run("tree", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f := flatten.New(flatten.Options{})
			for range 2 {
				if err := f.AddLayer(b.Context(), "layer", layer.Entries(b.Context(), s, layer.EntriesOptions{})); err != nil {
					b.Fatal(err)
				}
			}
			flatten.Canonical(f.Root(), flatten.ModeCanonical)
		}
	})
}
