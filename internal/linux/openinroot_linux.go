package linux

import (
	"errors"

	"golang.org/x/sys/unix"
)

// OpenInRoot opens a file below dirfd for reading, by a path that is followed as if dirfd were the root directory:
// absolute symlinks and ".." stay in there, as they did when a tar was unpacked with dirfd as its root. The
// last component must not be a symlink, which fails with ELOOP. It does not wait for the writer of a FIFO.
func OpenInRoot(dirfd int, path string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(dirfd, path, &how)
		// EAGAIN: something was renamed meanwhile, and the kernel cannot tell where it is.
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
}
