package linux

import (
	"os"

	"golang.org/x/sys/unix"
)

// Clone makes dst share all blocks of src (FICLONE). Filesystems that cannot say EOPNOTSUPP or
// ENOTTY, files of different ones EXDEV, files of different kinds EINVAL.
func Clone(dst, src *os.File) error {
	err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
	return os.NewSyscallError("FICLONE", err)
}
