package main

import (
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// runInMountNamespace runs this program anew with other arguments in the mount namespace that a
// file such as /proc/PID/ns/mnt stands for, and returns only if that fails. Threads enter
// namespaces one by one; to start again is what puts all of them there.
func runInMountNamespace(path string, args []string) error {
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	self, err := os.Open("/proc/self/exe") // may have no name in the other namespace
	if err != nil {
		return err
	}
	defer self.Close()
	argv, err := syscall.SlicePtrFromStrings(args)
	if err != nil {
		return err
	}
	env, err := syscall.SlicePtrFromStrings(os.Environ())
	if err != nil {
		return err
	}
	runtime.LockOSThread() // for good: this thread is of no use to others any more
	// A thread that shares its working directory cannot leave its mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("setns", err)
	}
	empty := []byte{0}
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, self.Fd(), uintptr(unsafe.Pointer(&empty[0])),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])), unix.AT_EMPTY_PATH, 0)
	runtime.KeepAlive(argv)
	runtime.KeepAlive(env)
	return os.NewSyscallError("execveat", errno)
}
