package linux

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Stat is statx(2) of what the descriptor refers to, which may be one from [OpenPath]. The
// structure is the same on every architecture, other than that of stat(2).
func Stat(fd int, st *unix.Statx_t) error {
	return statx(fd, "", unix.AT_EMPTY_PATH, st)
}

// StatAt is statx(2) of a name in a directory; symlinks are not followed.
func StatAt(dirfd int, name string, st *unix.Statx_t) error {
	return statx(dirfd, name, unix.AT_SYMLINK_NOFOLLOW, st)
}

func statx(fd int, name string, flags int, st *unix.Statx_t) error {
	for {
		err := unix.Statx(fd, name, flags|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS, st)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Device packs the numbers of a device into 32 bits, as the low half of st_rdev has them.
func Device(major, minor uint32) uint32 { return uint32(unix.Mkdev(major, minor)) }
