//go:build !linux

package objects

import (
	"os"

	"github.com/go-composefs/composefs/fsverity"
)

// temp is an object being written, under a temporary name.
type temp struct {
	*os.File
	dir  *Dir
	path string
}

func (d *Dir) newTemp(string) (*temp, error) {
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

func (t *temp) reopen(*Dir) error { return nil }

// name syncs the complete file, for there is no syncfs, and renames it.
func (t *temp) name(d *Dir, path string, _ bool) error {
	if err := t.Sync(); err != nil {
		return err
	}
	err := d.root.Rename(t.path, path)
	if err == nil {
		t.path = ""
	}
	return err
}

func (d *Dir) clone(_, _ *os.File) bool { return false }

func (d *Dir) openExisting(digest fsverity.Digest) (*os.File, error) {
	return d.root.Open(digest.ObjectPath())
}

// Sync makes all objects durable that were put before the call.
func (d *Dir) Sync() error { return d.dir.Sync() }
