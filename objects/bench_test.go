package objects

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// BenchmarkPut stores files of 16 KiB, from all goroutines at once.
func BenchmarkPut(b *testing.B) {
	const size = 16 << 10
	for _, opts := range []Options{{}, {CompareExisting: true}} {
		for _, kind := range []string{"new", "existing"} {
			if kind == "new" && opts.CompareExisting {
				continue
			}
			b.Run(fmt.Sprintf("%s/compare=%v", kind, opts.CompareExisting), func(b *testing.B) {
				d := openStore(b, opts)
				path := filepath.Join(b.TempDir(), "files")
				var next atomic.Int64
				b.SetBytes(size)
				b.RunParallel(func(pb *testing.PB) {
					data := pattern(size)
					f, err := os.Create(fmt.Sprint(path, next.Add(1)))
					if err != nil {
						b.Error(err)
						return
					}
					defer f.Close()
					for i := next.Add(1); pb.Next(); i = next.Add(1) {
						if kind == "new" || i < 100 {
							copy(data, fmt.Sprint(i))
						}
						if _, err := f.WriteAt(data, 0); err != nil {
							b.Error(err)
						}
						if _, err := d.Put(b.Context(), f, size); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}

func BenchmarkPutLarge(b *testing.B) {
	const size = 64 << 20
	for _, kind := range []string{"new", "existing", "stream"} {
		b.Run(kind, func(b *testing.B) {
			d := openStore(b, Options{})
			f := tempFile(b, pattern(size))
			b.SetBytes(size)
			for b.Loop() {
				var got Stored
				var err error
				if kind == "stream" {
					got, err = d.PutReader(b.Context(), io.NewSectionReader(f, 0, size))
				} else {
					got, err = d.Put(b.Context(), f, size)
				}
				if err != nil {
					b.Fatal(err)
				}
				if kind == "new" {
					if err := os.Remove(filepath.Join(d.Path(), got.Digest.ObjectPath())); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
