package dumpfile_test

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"github.com/go-composefs/composefs/dumpfile"
)

// What reading may allocate: buffers and first chunks, and a multiple of the dump. The
// greatest multiple is that of short lines of files out of order, which need an inode and an
// index entry each.
const (
	allocBase   = 1 << 20
	allocFactor = 64
)

func FuzzRead(f *testing.F) {
	f.Fuzz(func(t *testing.T, dump []byte, strict bool) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		root, err := dumpfile.Read(bytes.NewReader(dump), dumpfile.ReadOptions{Strict: strict})
		runtime.ReadMemStats(&after)
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(allocBase+allocFactor*len(dump)); got > most {
			t.Errorf("%d bytes allocated for a dump of %d", got, len(dump))
		}
		if err != nil {
			var syntax *dumpfile.SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("error of another kind: %v", err)
			}
			for _, c := range []byte(err.Error()) {
				if c < ' ' || c > '~' {
					t.Fatalf("error with character %#x: %q", c, err)
				}
			}
			return
		}
		once := write(t, root)
		again, err := dumpfile.Read(bytes.NewReader([]byte(once)), dumpfile.ReadOptions{Strict: true})
		if err != nil {
			t.Fatalf("what Write wrote: %v\n%s", err, once)
		}
		if twice := write(t, again); twice != once {
			t.Errorf("not a fixed point:\n%s\nthen\n%s", once, twice)
		}
	})
}
