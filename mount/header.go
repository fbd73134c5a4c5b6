package mount

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// The first 32 bytes of a composefs image, see struct lcfs_erofs_header_s of the C
// implementation's lcfs-erofs.h. All fields are little endian.
const (
	headerSize    = 32
	headerMagic   = uint32(0xd078629a)
	headerVersion = 1
	headerHasACL  = 1 << 0 // in flags
)

// header is what the start of an image says.
type header struct {
	acl    bool   // files have POSIX ACLs
	format uint32 // composefs format version: 0, 1, 2
}

func readHeader(r io.ReaderAt, name string) (header, error) {
	var buf [headerSize]byte
	switch n, err := r.ReadAt(buf[:], 0); {
	case n == headerSize:
	case err == nil || errors.Is(err, io.EOF):
		return header{}, fmt.Errorf("image %s: %w: only %d bytes long", name, ErrNotComposefs, n)
	default:
		if path := (*fs.PathError)(nil); errors.As(err, &path) {
			err = path.Err // it says the name again
		}
		return header{}, fmt.Errorf("read image %s: %w", name, err)
	}
	if magic := binary.LittleEndian.Uint32(buf[0:]); magic != headerMagic {
		return header{}, fmt.Errorf("image %s: %w: starts with %#08x, want %#08x",
			name, ErrNotComposefs, magic, headerMagic)
	}
	if version := binary.LittleEndian.Uint32(buf[4:]); version != headerVersion {
		return header{}, fmt.Errorf("image %s: %w: header version %d, want %d",
			name, ErrNotComposefs, version, headerVersion)
	}
	return header{
		acl:    binary.LittleEndian.Uint32(buf[8:])&headerHasACL != 0,
		format: binary.LittleEndian.Uint32(buf[12:]),
	}, nil
}
