package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// openUnnamed opens a file without a name in dir. It fails with errors.ErrUnsupported where
// the filesystem has no such files.
func openUnnamed(dir string, perm fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, perm)
	// Kernels and filesystems without O_TMPFILE see an attempt to write a directory.
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, errors.ErrUnsupported
	}
	return f, err
}

// nameFile gives an unnamed file a name that does not exist yet.
func nameFile(f *os.File, name string) error {
	return unix.Linkat(unix.AT_FDCWD, selfPath(f), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
}

// selfPath is a path by which this process can open a file that has no name.
func selfPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
