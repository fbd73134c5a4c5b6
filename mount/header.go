package mount

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// The first 32 bytes of a composefs image, see struct lcfs_erofs_header_s of the C
// implementation's lcfs-erofs.h. All fields are little endian.
const (
	headerSize    = 32
	headerMagic   = uint32(0xd078629a)
	headerVersion = 1
	headerHasACL  = 1 << 0 // in flags
)

// The EROFS superblock, see struct erofs_super_block of the kernel's fs/erofs/erofs_fs.h.
const (
	superOffset = 1024
	superSize   = 40 // of what is read of it
	superMagic  = uint32(0xe0f5e1e2)
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

// checkWhole reports an image that is shorter than it says. The kernel mounts it, and gives errors when
// files are read that are in what is missing.
func checkWhole(f *os.File, name string) error {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	var buf [superSize]byte
	if _, err := f.ReadAt(buf[:], superOffset); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read image %s: %w", name, err)
	}
	bits, blocks := buf[12], binary.LittleEndian.Uint32(buf[36:])
	if binary.LittleEndian.Uint32(buf[:]) != superMagic || bits > 16 {
		return nil // which the kernel says better
	}
	if size := info.Size(); int64(blocks)<<bits > size {
		return fmt.Errorf("image %s: %w: it is cut off: %d blocks of %d bytes are announced, there are %d bytes",
			name, ErrNotComposefs, blocks, 1<<bits, size)
	}
	return nil
}
