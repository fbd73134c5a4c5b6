package linux

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// OpenUnnamed opens a file without a name (O_TMPFILE) on the filesystem of a directory. It
// fails with [errors.ErrUnsupported] where the filesystem or the kernel has no such files.
func OpenUnnamed(dirfd int, dir string, perm uint32) (*os.File, error) {
	fd, err := OpenAt(dirfd, dir, unix.O_TMPFILE|unix.O_RDWR, perm)
	switch {
	case err == nil:
		return os.NewFile(uintptr(fd), dir), nil
	// Kernels and filesystems without O_TMPFILE see an attempt to write a directory.
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR):
		return nil, errors.ErrUnsupported
	}
	return nil, os.NewSyscallError("open unnamed file", err)
}

// Link gives a file from [OpenUnnamed] a name that does not exist yet.
func Link(f *os.File, dirfd int, name string) error {
	dir, err := ownFDs()
	if err == nil {
		err = unix.Linkat(dir, strconv.Itoa(int(f.Fd())), dirfd, name, unix.AT_SYMLINK_FOLLOW)
	} else {
		// Without /proc; older kernels want CAP_DAC_READ_SEARCH for it.
		err = unix.Linkat(int(f.Fd()), "", dirfd, name, unix.AT_EMPTY_PATH)
	}
	return os.NewSyscallError("linkat", err)
}

// SetModTime sets the modification time of an open file, and leaves that of the last access.
func SetModTime(f *os.File, t time.Time) error {
	mtime, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	times := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, mtime}
	// The C library's futimens: no path.
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, f.Fd(), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
	runtime.KeepAlive(f)
	if errno != 0 {
		return os.NewSyscallError("utimensat", errno)
	}
	return nil
}
