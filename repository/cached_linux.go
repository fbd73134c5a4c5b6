package repository

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCached makes the kernel forget what it has in memory of a file and has written to the disk.
func dropCached(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	err2 := conn.Control(func(fd uintptr) { err = unix.Fadvise(int(fd), 0, 0, unix.FADV_DONTNEED) })
	if err == nil {
		err = err2
	}
	return os.NewSyscallError("fadvise", err)
}
