package linux

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// Chown sets the owner of what a descriptor refers to, which may be one from [OpenPath]. The
// ids that chown(2) takes for "leave it" are refused.
func Chown(fd int, uid, gid uint32) error {
	if uid == math.MaxUint32 || gid == math.MaxUint32 {
		return unix.EINVAL
	}
	return unix.Fchownat(fd, "", int(uid), int(gid), unix.AT_EMPTY_PATH)
}

// Chmod sets the permissions of what a descriptor refers to; byPath says that it is one from
// [OpenPath]. Symlinks have none.
func Chmod(fd int, byPath bool, mode uint32) error {
	if byPath {
		return unix.Chmod(FDPath(fd), mode)
	}
	return unix.Fchmod(fd, mode)
}

// SetMtime sets the times of last modification and access of a name; symlinks are not
// followed.
func SetMtime(dirfd int, name string, sec int64, nsec uint32) error {
	if nsec >= uint32(time.Second) {
		return unix.EINVAL // some numbers mean "now" or "leave it"
	}
	ts, err := unix.TimeToTimespec(time.Unix(sec, int64(nsec)))
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(dirfd, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}
