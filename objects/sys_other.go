//go:build !linux

package objects

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

func (d *Dir) stat(path string) (found, error) {
	info, err := d.root.Lstat(path)
	if err != nil {
		return found{}, err
	}
	return found{size: info.Size(), regular: info.Mode().IsRegular()}, nil
}

func (d *Dir) openExisting(path string) (*os.File, error) { return d.root.Open(path) }

func (d *Dir) openFile(path string) (*os.File, error) { return d.root.Open(path) }

// openBeneath opens a file by a path that may lead anywhere but out of the store. Without O_NONBLOCK a
// FIFO would wait for a writer.
func (d *Dir) openBeneath(path string) (*os.File, error) {
	return d.root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

func (d *Dir) unlink(path string) error { return d.root.Remove(path) }

// readOnce reads a file that should have size bytes into buf, which has room for more.
func readOnce(f *os.File, buf []byte, _ int) (int, error) {
	n, err := f.ReadAt(buf, 0)
	if err == io.EOF {
		err = nil
	}
	return n, err
}

func (d *Dir) openUnnamed(string) (*os.File, error) { return nil, errors.ErrUnsupported }

// reopen opens the file of t for reading only.
func (d *Dir) reopen(t *temp) (*os.File, error) { return d.root.Open(t.path) }

// name gives a complete file its name. fs.ErrExist reports that the name is taken, unless it
// replaces what has it. There is no syncfs to make many files durable at once.
func (d *Dir) name(t *temp, _, path string, replace bool) error {
	if err := t.Sync(); err != nil {
		return err
	}
	if err := d.step("rename"); err != nil {
		return err
	}
	if !replace {
		return d.root.Link(t.path, path) // drop removes the other name
	}
	err := d.root.Rename(t.path, path)
	if err == nil {
		t.path = ""
	}
	return err
}

func cloneFile(_, _ *os.File) error { return errors.ErrUnsupported }

// setModTime fails: objects are not sealed here, but compared.
func setModTime(*os.File, time.Time) error { return errors.ErrUnsupported }

func deviceOf(fs.FileInfo) uint64 { return 0 }

func isBusy(error) bool { return false }

// Sync makes all objects durable that were put before the call, with their names.
func (d *Dir) Sync() error {
	if err := d.step("sync"); err != nil {
		return err
	}
	subs, err := filepath.Glob(filepath.Join(d.path, "[0-9a-f][0-9a-f]"))
	if err != nil {
		return err
	}
	for _, sub := range subs {
		f, err := d.root.Open(filepath.Base(sub))
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			return err
		}
	}
	return d.dir.Sync()
}

func copyFile(*os.File, *os.File, int64) error { return errors.ErrUnsupported }

func linkFile(*os.File, *os.File, string) error { return errors.ErrUnsupported }

func cannotLink(err error) bool { return errors.Is(err, errors.ErrUnsupported) }
