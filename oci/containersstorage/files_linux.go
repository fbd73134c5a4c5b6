package containersstorage

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/linux"
)

// fileOpener opens the files of a layer.
type fileOpener interface {
	io.Closer
	// open opens whatever is at a path of the diff directory, but never a symlink there.
	open(path string) (*os.File, error)
}

// diffFiles opens files beneath an open directory.
type diffFiles struct{ dir *os.File }

func openFiles(root *os.Root, dir string) (fileOpener, error) {
	f, err := root.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return diffFiles{f}, nil
}

func (d diffFiles) Close() error { return d.dir.Close() }

func (d diffFiles) open(path string) (*os.File, error) {
	fd, err := linux.OpenInRoot(int(d.dir.Fd()), path)
	if err != nil {
		return nil, &os.PathError{Op: "openat2", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// lockShared takes the lock that podman's writers take exclusively. Theirs belongs to the process, this one to the open
// file, so that it is not lost when another file of the same name is closed; the two exclude each other.
func lockShared(ctx context.Context, f *os.File) error {
	const pause = 10 * time.Millisecond
	lock := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart}
	for {
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES):
			return os.NewSyscallError("fcntl", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}
