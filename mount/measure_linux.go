package mount

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
)

// measure asks the kernel for the fs-verity digest of an open file: FS_IOC_MEASURE_VERITY.
func measure(f *os.File) (fsverity.Digest, error) {
	var arg struct {
		alg, size uint16
		digest    [64]byte
	}
	arg.size = 64
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.FS_IOC_MEASURE_VERITY, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return fsverity.Digest{}, errno
	}
	return fsverity.DigestFromBytes(arg.digest[:arg.size])
}
