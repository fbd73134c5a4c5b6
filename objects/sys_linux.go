package objects

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/linux"
)

func (d *Dir) stat(path string) (found, error) {
	var st unix.Statx_t
	if err := linux.StatAt(int(d.dir.Fd()), path, &st); err != nil {
		return found{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return found{
		size:        int64(st.Size),
		allocated:   int64(st.Blocks) * 512,
		nanoseconds: int64(st.Mtime.Nsec),
		regular:     st.Mode&unix.S_IFMT == unix.S_IFREG,
		verity:      st.Attributes&unix.STATX_ATTR_VERITY != 0,
	}, nil
}

func (d *Dir) unlink(path string) error {
	if err := unix.Unlinkat(int(d.dir.Fd()), path, 0); err != nil {
		return &fs.PathError{Op: "unlink", Path: path, Err: err}
	}
	return nil
}

// descriptor is an open file without what an os.File needs: objects are compared by the ten
// thousand.
type descriptor int

// openExisting opens an object, which was a regular file a moment ago.
func (d *Dir) openExisting(path string) (descriptor, error) {
	fd, err := linux.OpenAt(int(d.dir.Fd()), path, unix.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return descriptor(fd), nil
}

// openFile is openExisting for more than reading.
func (d *Dir) openFile(path string) (*os.File, error) {
	fd, err := d.openExisting(path)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// openBeneath opens a file by a path that may lead anywhere but out of the store.
func (d *Dir) openBeneath(path string) (*os.File, error) {
	fd, err := linux.OpenBeneath(int(d.dir.Fd()), path)
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		// Older than Linux 5.6, or a sandbox that knows no more than that.
		return d.root.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	case err != nil:
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// ReadAt implements [io.ReaderAt].
func (fd descriptor) ReadAt(p []byte, off int64) (int, error) {
	n, err := linux.ReadAt(int(fd), p, off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// Close implements [io.Closer].
func (fd descriptor) Close() error { return unix.Close(int(fd)) }

// readOnce reads a file that should have size bytes into buf, which has room for more. A short
// read is the end of a regular file: there is no need to ask for it.
func readOnce(f *os.File, buf []byte, size int) (int, error) {
	fd, n := int(f.Fd()), 0
	for {
		k, err := unix.Pread(fd, buf[n:], int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return n, &fs.PathError{Op: "read", Path: f.Name(), Err: err}
		case k == 0 || n+k >= size:
			return n + k, nil
		default:
			n += k
		}
	}
}

func (d *Dir) openUnnamed(sub string) (*os.File, error) {
	return linux.OpenUnnamed(int(d.dir.Fd()), sub, objectMode)
}

// reopen opens the file of t for reading only.
func (d *Dir) reopen(t *temp) (*os.File, error) {
	fd, err := linux.Reopen(int(t.Fd()), unix.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("reopen: %w", err)
	}
	return os.NewFile(uintptr(fd), t.Name()), nil
}

// name gives a complete file its name. fs.ErrExist reports that the name is taken, unless it
// replaces what has it.
func (d *Dir) name(t *temp, sub, path string, replace bool) error {
	dir := int(d.dir.Fd())
	if t.path == "" {
		target := path
		if replace {
			target = tempPath(sub)
		}
		if err := d.step("link"); err != nil {
			return err
		}
		if err := linux.Link(t.File, dir, target); err != nil || !replace {
			return err
		}
		t.path = target
	}
	if err := d.step("rename"); err != nil {
		return err
	}
	flags := uint(unix.RENAME_NOREPLACE)
	if replace {
		flags = 0
	}
	err := unix.Renameat2(dir, t.path, dir, path, flags)
	if err == unix.EINVAL && !replace {
		// Filesystems without RENAME_NOREPLACE: a link does not replace anything either, and
		// drop removes the other name.
		err = unix.Linkat(dir, t.path, dir, path, 0)
		return os.NewSyscallError("linkat", err)
	}
	if err == nil {
		t.path = ""
	}
	return os.NewSyscallError("renameat2", err)
}

func cloneFile(dst, src *os.File) error { return linux.Clone(dst, src) }

// copyFile copies the data of a file of size bytes into an empty one. It uses a description of its own
// to look for holes, for the file's offset is its owner's.
func copyFile(dst, src *os.File, size int64) error {
	fd, err := linux.Reopen(int(src.Fd()), unix.O_RDONLY)
	if err != nil {
		return err
	}
	own := os.NewFile(uintptr(fd), src.Name())
	defer own.Close()
	for extent, err := range linux.DataExtents(own, size) {
		if err == nil {
			err = linux.CopyRange(dst, own, extent.Offset, extent.Length)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// linkFile gives an open file a further name.
func linkFile(f, dir *os.File, path string) error { return linux.Link(f, int(dir.Fd()), path) }

// cannotLink knows the errors of files that cannot have a further name there: they are on another
// filesystem, or have as many as they can, or may not be linked by this user.
func cannotLink(err error) bool {
	return errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EPERM)
}

func setModTime(f *os.File, t time.Time) error { return linux.SetModTime(f, t) }

func deviceOf(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Dev
	}
	return 0
}

func isBusy(err error) bool {
	return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ETXTBSY)
}

// Sync makes all objects durable that were put before the call, with their names.
func (d *Dir) Sync() error {
	if err := d.step("sync"); err != nil {
		return err
	}
	return os.NewSyscallError("syncfs", unix.Syncfs(int(d.dir.Fd())))
}
