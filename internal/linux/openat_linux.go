package linux

import (
	"errors"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// The functions that are called for each file of a tree take and return plain descriptors
// and bare error numbers: an os.File costs two more system calls and a finalizer, and the
// caller names the file in the error anyway.

// OpenAt is openat(2), repeated when a signal interrupts it.
func OpenAt(dirfd int, name string, flags int, perm uint32) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, name, flags|unix.O_CLOEXEC, perm)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// OpenBeneath opens a file below dirfd for reading, by a path that nothing, no symlink either, leads out
// of there. It neither waits for the writer of a FIFO nor for leases.
func OpenBeneath(dirfd int, path string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH,
	}
	for {
		fd, err := unix.Openat2(dirfd, path, &how)
		// EAGAIN: something was renamed meanwhile, and the kernel cannot tell where it is.
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
}

// OpenPath opens whatever the name is, a symlink too, as a mere reference (O_PATH): nothing
// happens to the file, not even if it is a device or a FIFO.
func OpenPath(dirfd int, name string) (int, error) {
	return OpenAt(dirfd, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
}

// OpenDir opens a directory for reading and fails for anything else, symlinks included.
func OpenDir(dirfd int, name string) (int, error) {
	return OpenAt(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// ownFDs is a reference to the directory of this process's descriptors. It stays open: looking
// a number up in it is a good deal faster than walking down from the root each time.
var ownFDs = sync.OnceValues(func() (int, error) {
	fd, err := OpenAt(unix.AT_FDCWD, "/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY, 0)
	return fd, os.NewSyscallError("open /proc/self/fd", err)
})

// Reopen opens the file that a descriptor from [OpenPath] refers to. No other file can come
// in between, whatever happens to the name. It needs /proc.
func Reopen(fd, flags int) (int, error) {
	dir, err := ownFDs()
	if err != nil {
		return -1, err
	}
	return OpenAt(dir, strconv.Itoa(fd), flags, 0)
}

// FDPath returns a path of the file that the descriptor refers to, for calls that take
// nothing else. It needs /proc.
func FDPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// ReadLink returns the target of the symlink that a descriptor from [OpenPath] refers to. buf
// is for scratch; a target that fills it is too long for the kernel to have made it.
func ReadLink(fd int, buf []byte) (string, error) {
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", err
	}
	if n == len(buf) {
		return "", unix.ENAMETOOLONG
	}
	return string(buf[:n]), nil
}

// ReadAt fills buf from the offset on, as far as the file goes.
func ReadAt(fd int, buf []byte, off int64) (int, error) {
	done := 0
	for done < len(buf) {
		n, err := unix.Pread(fd, buf[done:], off+int64(done))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return done, err
		}
		if n == 0 {
			break
		}
		done += n
	}
	return done, nil
}

// WriteAt writes all of buf at the offset.
func WriteAt(fd int, buf []byte, off int64) error {
	for len(buf) > 0 {
		n, err := unix.Pwrite(fd, buf, off)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		buf = buf[n:]
		off += int64(n)
	}
	return nil
}
