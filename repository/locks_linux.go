package repository

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// lockMode is how a lock is taken.
type lockMode int16

const (
	shared    lockMode = unix.F_RDLCK
	exclusive lockMode = unix.F_WRLCK
)

// lockByte locks a byte of a file for the file's description, so that descriptors of the same
// process exclude each other as well. It waits for those who hold it.
func lockByte(f *os.File, at int64, mode lockMode) error {
	return byteLock(f, unix.F_OFD_SETLKW, at, int16(mode))
}

// tryLockByte is lockByte without the wait; it says whether it has the lock.
func tryLockByte(f *os.File, at int64, mode lockMode) (bool, error) {
	err := byteLock(f, unix.F_OFD_SETLK, at, int16(mode))
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return false, nil
	}
	return err == nil, err
}

// unlockByte drops a lock.
func unlockByte(f *os.File, at int64) error {
	return byteLock(f, unix.F_OFD_SETLK, at, unix.F_UNLCK)
}

func byteLock(f *os.File, cmd int, at int64, kind int16) error {
	lock := unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: at, Len: 1}
	for {
		err := unix.FcntlFlock(f.Fd(), cmd, &lock)
		if !errors.Is(err, unix.EINTR) {
			return lockError(err)
		}
	}
}

// lockedByte says whether another description holds a byte exclusively.
func lockedByte(f *os.File, at int64) (bool, error) {
	lock := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart, Start: at, Len: 1}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return false, lockError(err)
	}
	return lock.Type != unix.F_UNLCK, nil
}

// tryFlock takes or converts the lock of a whole file or directory without waiting, and says
// whether it has it. After a conversion that failed the old lock may be lost.
func tryFlock(f *os.File, mode lockMode) (bool, error) {
	how := unix.LOCK_SH
	if mode == exclusive {
		how = unix.LOCK_EX
	}
	for {
		switch err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		default:
			return err == nil, lockError(err)
		}
	}
}

func dropFlock(f *os.File) error { return lockError(unix.Flock(int(f.Fd()), unix.LOCK_UN)) }

func lockError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("lock: %w", err)
}

// isOpenElsewhere says whether anybody else has a file open, in whatever process and namespace:
// so the kernel has the file of a mounted image. f must be the only description of it here. It
// asks for a write lease, which the kernel refuses then.
func isOpenElsewhere(f *os.File) (bool, error) {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
	switch {
	case err == nil:
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
		return false, err
	case errors.Is(err, unix.EAGAIN):
		return true, nil
	}
	return false, fmt.Errorf("ask who has it open: %w", err)
}
