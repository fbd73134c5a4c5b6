package linux

import (
	"errors"
	"io"
	"iter"
	"os"

	"golang.org/x/sys/unix"
)

// CopyRange copies n bytes at an offset of one file to the same offset of another, within the kernel or, on
// network filesystems, within the server. [io.ErrUnexpectedEOF] reports a file that is shorter.
func CopyRange(dst, src *os.File, off, n int64) error {
	in, out := off, off
	for end := off + n; in < end; {
		k, err := unix.CopyFileRange(int(src.Fd()), &in, int(dst.Fd()), &out, int(min(end-in, 1<<30)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return os.NewSyscallError("copy_file_range", err)
		case k == 0:
			return io.ErrUnexpectedEOF
		}
	}
	return nil
}

// Extent is a part of a file in bytes.
type Extent struct{ Offset, Length int64 }

// DataExtents goes through the parts of a file of size bytes that are not holes. It moves the file's
// offset.
func DataExtents(f *os.File, size int64) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		for at := int64(0); at < size; {
			start, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
			if errors.Is(err, unix.ENXIO) {
				return // a hole up to the end
			}
			end := start
			if err == nil {
				end, err = unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
			}
			if err != nil {
				yield(Extent{}, os.NewSyscallError("lseek", err))
				return
			}
			end = min(end, size)
			if start >= end || !yield(Extent{start, end - start}, nil) {
				return
			}
			at = end
		}
	}
}
