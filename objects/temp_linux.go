package objects

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
)

// temp is an object being written: without a name where the filesystem can do that.
type temp struct {
	*os.File
	dir  *Dir
	path string // its temporary name; empty without one
}

func (d *Dir) newTemp(sub string) (*temp, error) {
	fd, err := -1, error(unix.EOPNOTSUPP)
	if !d.named {
		fd, err = unix.Openat(int(d.dir.Fd()), sub, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
	}
	if err == nil {
		return &temp{File: os.NewFile(uintptr(fd), sub), dir: d}, nil
	}
	// EISDIR comes from filesystems and kernels that do not know the flag.
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) {
		return nil, err
	}
	name := tempName()
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	return &temp{File: f, dir: d, path: name}, nil
}

// drop closes the file and removes its temporary name.
func (t *temp) drop() {
	_ = t.Close() // either named, or unwanted
	if t.path != "" {
		_ = t.dir.root.Remove(t.path) // nothing more can be done
	}
}

// reopen makes t open for reading only.
func (t *temp) reopen(d *Dir) error {
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", t.Fd()))
	if err != nil {
		return err
	}
	err = t.Close()
	t.File = f
	return err
}

// name gives the complete file its name.
func (t *temp) name(d *Dir, path string, replace bool) error {
	dir := int(d.dir.Fd())
	if t.path == "" {
		self := fmt.Sprintf("/proc/self/fd/%d", t.Fd())
		target := path
		if replace {
			target = tempName()
		}
		err := unix.Linkat(unix.AT_FDCWD, self, dir, target, unix.AT_SYMLINK_FOLLOW)
		if !replace {
			if errors.Is(err, unix.EEXIST) {
				return nil
			}
			return err
		}
		if err != nil {
			return err
		}
		t.path = target
	}
	if !replace {
		err := unix.Renameat2(dir, t.path, dir, path, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			return nil // drop removes the temporary name
		}
		if err == nil {
			t.path = ""
		}
		return err
	}
	err := unix.Renameat(dir, t.path, dir, path)
	if err == nil {
		t.path = ""
	}
	return err
}

// clone lets dst share the blocks of src, if the filesystem can.
func (d *Dir) clone(dst, src *os.File) bool {
	if d.noReflink.Load() {
		return false
	}
	err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EXDEV) {
		d.noReflink.Store(true)
	}
	return err == nil
}

// openExisting opens an object, which is known to be a regular file.
func (d *Dir) openExisting(digest fsverity.Digest) (*os.File, error) {
	path := digest.ObjectPath()
	fd, err := unix.Openat(int(d.dir.Fd()), path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Sync makes all objects durable that were put before the call.
func (d *Dir) Sync() error {
	return os.NewSyscallError("syncfs", unix.Syncfs(int(d.dir.Fd())))
}
