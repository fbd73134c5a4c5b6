//go:build vmguest

package guest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
)

// device is where the filesystem of /vm lies (scripts/vmtest.sh).
const device = "/dev/vda"

// flipOnDevice changes one byte of a file behind the filesystem's back: it looks for marker,
// which must occur once on the whole device, and inverts the byte that follows it. The kernel's
// caches are dropped, so that the next reader of the file gets what is on the device now.
func flipOnDevice(t *testing.T, marker []byte) {
	t.Helper()
	dropCaches(t)
	dev, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	at := find(t, dev, marker) + int64(len(marker))
	b := make([]byte, 1)
	if _, err := dev.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0xff
	if _, err := dev.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	if err := dev.Sync(); err != nil {
		t.Fatal(err)
	}
	dropCaches(t)
}

// find returns the offset of the marker, which must be there exactly once.
func find(t *testing.T, dev io.ReaderAt, marker []byte) int64 {
	t.Helper()
	found := int64(-1)
	buf := make([]byte, 4<<20)
	for at := int64(0); ; {
		n, err := dev.ReadAt(buf, at)
		for part, skipped := buf[:n], 0; ; {
			i := bytes.Index(part, marker)
			if i < 0 {
				break
			}
			if hit := at + int64(skipped+i); found >= 0 && hit != found {
				t.Fatalf("marker %q is on the device twice", marker)
			}
			found = at + int64(skipped+i)
			part, skipped = part[i+1:], skipped+i+1
		}
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		at += int64(n - len(marker) - 1) // one across the edge is found in the next part
	}
	if found < 0 {
		t.Fatalf("marker %q is not on the device", marker)
	}
	return found
}

// dropCaches writes out everything and makes the kernel forget what it has in memory.
func dropCaches(t *testing.T) {
	t.Helper()
	sync(t)
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		t.Fatal(err)
	}
}
