package linux

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// EnableVerity calls FS_IOC_ENABLE_VERITY on a file that is open for reading only. salt and
// signature may be empty.
func EnableVerity(f *os.File, hash, blockSize uint32, salt, signature []byte) error {
	arg := unix.FsverityEnableArg{Version: 1, Hash_algorithm: hash, Block_size: blockSize}
	// The kernel wants addresses as numbers: keep the slices where they are for the call.
	var pin runtime.Pinner
	defer pin.Unpin()
	if len(salt) > 0 {
		pin.Pin(&salt[0])
		arg.Salt_size, arg.Salt_ptr = uint32(len(salt)), uint64(uintptr(unsafe.Pointer(&salt[0])))
	}
	if len(signature) > 0 {
		pin.Pin(&signature[0])
		arg.Sig_size, arg.Sig_ptr = uint32(len(signature)), uint64(uintptr(unsafe.Pointer(&signature[0])))
	}
	err := ioctl(f, unix.FS_IOC_ENABLE_VERITY, unsafe.Pointer(&arg))
	return wrap("FS_IOC_ENABLE_VERITY", err)
}

// MeasureVerity calls FS_IOC_MEASURE_VERITY and returns the kernel's number of the hash and
// the digest.
func MeasureVerity(f *os.File) (hash uint16, digest []byte, err error) {
	var buf struct {
		head   unix.FsverityDigest
		digest [64]byte
	}
	buf.head.Size = uint16(len(buf.digest))
	if err := ioctl(f, unix.FS_IOC_MEASURE_VERITY, unsafe.Pointer(&buf)); err != nil {
		return 0, nil, wrap("FS_IOC_MEASURE_VERITY", err)
	}
	size := min(int(buf.head.Size), len(buf.digest))
	return buf.head.Algorithm, buf.digest[:size], nil
}

// ReadVerityMetadata calls FS_IOC_READ_VERITY_METADATA for a kind of metadata, from an offset on, and returns
// how many bytes it has put into buf.
func ReadVerityMetadata(f *os.File, kind, offset uint64, buf []byte) (int, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&buf[0])
	// struct fsverity_read_metadata_arg of include/uapi/linux/fsverity.h
	arg := struct{ kind, offset, length, buf, reserved uint64 }{
		kind: kind, offset: offset, length: uint64(len(buf)), buf: uint64(uintptr(unsafe.Pointer(&buf[0]))),
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n uintptr
	var errno unix.Errno
	err = conn.Control(func(fd uintptr) {
		n, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, unix.FS_IOC_READ_VERITY_METADATA, uintptr(unsafe.Pointer(&arg)))
	})
	switch {
	case err != nil:
		return 0, err
	case errno != 0:
		return 0, wrap("FS_IOC_READ_VERITY_METADATA", errno)
	}
	return min(int(n), len(buf)), nil
}

func ioctl(f *os.File, request uint, arg unsafe.Pointer) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno unix.Errno
	err = conn.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(arg))
	})
	switch {
	case err != nil:
		return err
	case errno != 0:
		return errno
	}
	return nil
}

func wrap(call string, err error) error {
	if err == nil {
		return nil
	}
	return os.NewSyscallError(call, err)
}
