package linux

import (
	"bytes"
	"encoding/binary"
	"errors"
	"iter"

	"golang.org/x/sys/unix"
)

// Offsets in struct linux_dirent64 of include/linux/dirent.h.
const (
	direntRecordLen = 16
	direntType      = 18
	direntName      = 19
)

// ReadDir lists an open directory from where it stands: each name but "." and "..", with its
// type as an S_IF* number, 0 if the filesystem does not tell. The name is valid until the next
// one; buf is for scratch. The last pair may carry an error.
func ReadDir(fd int, buf []byte) iter.Seq2[Dirent, error] {
	return func(yield func(Dirent, error) bool) {
		for {
			n, err := unix.Getdents(fd, buf)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				yield(Dirent{}, err)
				return
			}
			if n == 0 {
				return
			}
			for rest := buf[:n]; len(rest) > direntName; {
				size := int(binary.NativeEndian.Uint16(rest[direntRecordLen:]))
				if size <= direntName || size > len(rest) {
					yield(Dirent{}, unix.EIO)
					return
				}
				name, _, _ := bytes.Cut(rest[direntName:size], []byte{0})
				// DT_* are the S_IF* numbers without their low zeros.
				e := Dirent{Name: name, Type: uint32(rest[direntType]) << 12}
				rest = rest[size:]
				if s := string(name); s == "." || s == ".." {
					continue
				}
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// Dirent is what a directory tells of one entry.
type Dirent struct {
	Name []byte
	Type uint32
}
