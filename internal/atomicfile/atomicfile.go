// Package atomicfile writes a file that appears under its name complete or not at all.
//
//	f, err := atomicfile.Create(path, 0o666)
//	defer f.Abort() // does nothing after Commit
//	... write to f ...
//	err = f.Commit()
//
// Until Commit the data has no name where the filesystem can do that (O_TMPFILE), so that even
// a killed process leaves nothing behind; elsewhere it has a temporary name beside the target.
// Commit makes data and name durable before it returns.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// File is a file being written. It is not safe for concurrent use.
type File struct {
	*os.File
	path   string
	temp   string // name to remove on Abort; empty while the file has none
	direct bool   // the target is a device, a pipe or the like: written in place
	done   bool
}

// Create starts a file that will replace whatever is at path, with permissions perm less the
// process's mask; a replaced regular file's permissions are not kept. If path is something
// that can be written but not replaced (a device, a FIFO, a socket), it is written in place.
func Create(path string, perm fs.FileMode) (*File, error) {
	// Follow symlinks as opening for writing would, so that the link survives.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		if info.IsDir() {
			return nil, &fs.PathError{Op: "create", Path: path, Err: errors.New("is a directory")}
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		return &File{File: f, path: path, direct: true}, nil
	}
	f, err := openUnnamed(filepath.Dir(path), perm)
	if err == nil {
		return &File{File: f, path: path}, nil
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	temp := tempName(path)
	f, err = os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	return &File{File: f, path: path, temp: temp}, nil
}

func tempName(path string) string {
	return filepath.Join(filepath.Dir(path), "."+rand.Text()[:12]+".tmp")
}

// ReadOnly ends writing, before Commit: fs-verity can only be enabled on a file that nobody has
// open for writing. What is written in place cannot be protected and gives
// [errors.ErrUnsupported].
func (f *File) ReadOnly() error {
	if f.direct {
		return fmt.Errorf("%s is no regular file: %w", f.path, errors.ErrUnsupported)
	}
	path := f.temp
	if path == "" {
		path = selfPath(f.File)
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: f.path, Err: err}
	}
	err = f.Close()
	f.File = os.NewFile(uintptr(fd), f.path) // errors name the file that it will be
	return err
}

// Commit syncs the data, gives it its name, syncs the directory and closes the file. On an
// error the target is as it was, and Abort cleans up.
func (f *File) Commit() error {
	if f.direct {
		f.done = true
		return f.Close()
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", f.path, err)
	}
	if f.temp == "" {
		temp := tempName(f.path)
		if err := nameFile(f.File, temp); err != nil {
			return fmt.Errorf("name %s: %w", f.path, err)
		}
		f.temp = temp
	}
	if err := os.Rename(f.temp, f.path); err != nil {
		return err
	}
	f.done = true
	if err := f.Close(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(f.path))
}

// Abort drops what was written, unless Commit has succeeded.
func (f *File) Abort() {
	if f.done {
		return
	}
	f.done = true
	_ = f.Close() // the data is unwanted
	if f.temp != "" {
		_ = os.Remove(f.temp) // nothing more can be done
	}
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
