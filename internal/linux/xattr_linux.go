package linux

import (
	"errors"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ListXattr is flistxattr(2) for a descriptor that is open for reading, and the like for one
// from [OpenPath] if byPath is set: listxattrat(2) where the kernel has it (Linux 6.13), else
// a path in /proc. ERANGE says that dest is too small.
func ListXattr(fd int, byPath bool, dest []byte) (int, error) {
	switch {
	case !byPath:
		return unix.Flistxattr(fd, dest)
	case hasXattrAt():
		return listXattrAt(fd, dest)
	}
	return unix.Listxattr(FDPath(fd), dest)
}

// GetXattr reads the value of one attribute, as [ListXattr] does the names.
func GetXattr(fd int, byPath bool, name string, dest []byte) (int, error) {
	switch {
	case !byPath:
		return unix.Fgetxattr(fd, name, dest)
	case hasXattrAt():
		return getXattrAt(fd, name, dest)
	}
	return unix.Getxattr(FDPath(fd), name, dest)
}

// SetXattr sets an attribute of what a descriptor refers to, which may be one from [OpenPath].
func SetXattr(fd int, byPath bool, name string, value []byte) error {
	if byPath {
		return unix.Setxattr(FDPath(fd), name, value, 0)
	}
	return unix.Fsetxattr(fd, name, value, 0)
}

// hasXattrAt says whether the kernel, and what filters its calls, know the *xattrat calls.
// They are asked about a directory that is always there, so that any other answer is a yes.
var hasXattrAt = sync.OnceValue(func() bool {
	fd, err := OpenPath(unix.AT_FDCWD, "/")
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	_, err = listXattrAt(fd, nil)
	return err == nil || errors.Is(err, unix.EOPNOTSUPP)
})

var noName [1]byte // the empty path: the descriptor itself is meant

func listXattrAt(fd int, dest []byte) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_LISTXATTRAT, uintptr(fd), uintptr(unsafe.Pointer(&noName)),
		unix.AT_EMPTY_PATH, uintptr(unsafe.Pointer(unsafe.SliceData(dest))), uintptr(len(dest)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// xattrArgs is struct xattr_args of include/uapi/linux/xattr.h.
type xattrArgs struct {
	value uint64 // address
	size  uint32
	flags uint32
}

func getXattrAt(fd int, name string, dest []byte) (int, error) {
	cname, err := unix.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	args := xattrArgs{size: uint32(len(dest))}
	if len(dest) > 0 {
		// The address hides in a number, where the runtime does not see it.
		var pin runtime.Pinner
		defer pin.Unpin()
		pin.Pin(&dest[0])
		args.value = uint64(uintptr(unsafe.Pointer(&dest[0])))
	}
	n, _, errno := unix.Syscall6(unix.SYS_GETXATTRAT, uintptr(fd), uintptr(unsafe.Pointer(&noName)),
		unix.AT_EMPTY_PATH, uintptr(unsafe.Pointer(cname)), uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
