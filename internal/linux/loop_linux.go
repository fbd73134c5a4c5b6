package linux

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// LoopGetFree is LOOP_CTL_GET_FREE on /dev/loop-control: the path of a loop device that was
// free a moment ago. Another process may take it first.
func LoopGetFree(control *os.File) (string, error) {
	defer runtime.KeepAlive(control)
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", os.NewSyscallError("LOOP_CTL_GET_FREE", err)
	}
	return "/dev/loop" + strconv.Itoa(n), nil
}

// LoopConfigure is LOOP_CONFIGURE (Linux 5.8): binds the device to the file and sets
// everything in one step. flags are LO_FLAGS_*; blockSize is in bytes; of name the kernel
// keeps 63 bytes.
func LoopConfigure(device, file *os.File, flags, blockSize uint32, name string) error {
	defer runtime.KeepAlive(device)
	defer runtime.KeepAlive(file)
	config := unix.LoopConfig{Fd: uint32(file.Fd()), Size: blockSize, Info: loopInfo(flags, name)}
	return os.NewSyscallError("LOOP_CONFIGURE", unix.IoctlLoopConfigure(int(device.Fd()), &config))
}

// LoopSetFD is LOOP_SET_FD: binds the device to the file, for kernels without LOOP_CONFIGURE.
func LoopSetFD(device, file *os.File) error {
	defer runtime.KeepAlive(device)
	defer runtime.KeepAlive(file)
	return os.NewSyscallError("LOOP_SET_FD",
		unix.IoctlSetInt(int(device.Fd()), unix.LOOP_SET_FD, int(file.Fd())))
}

// LoopSetStatus is LOOP_SET_STATUS64 with the flags and name of [LoopConfigure].
func LoopSetStatus(device *os.File, flags uint32, name string) error {
	defer runtime.KeepAlive(device)
	info := loopInfo(flags, name)
	return os.NewSyscallError("LOOP_SET_STATUS64", unix.IoctlLoopSetStatus64(int(device.Fd()), &info))
}

// LoopClear is LOOP_CLR_FD: unbinds the device.
func LoopClear(device *os.File) error {
	defer runtime.KeepAlive(device)
	return os.NewSyscallError("LOOP_CLR_FD", unix.IoctlSetInt(int(device.Fd()), unix.LOOP_CLR_FD, 0))
}

func loopInfo(flags uint32, name string) unix.LoopInfo64 {
	info := unix.LoopInfo64{Flags: flags}
	copy(info.File_name[:len(info.File_name)-1], name)
	return info
}
