package objects

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/go-composefs/composefs/fsverity"
)

const tempPrefix = ".tmp-"

func tempName() string { return tempPrefix + rand.Text()[:12] }

// create makes an object whose content fill writes, and gives it its name when it is complete.
// replace puts it in the place of a file that is there; otherwise one that another writer has
// made meanwhile stays.
func (d *Dir) create(digest fsverity.Digest, replace bool, fill func(*os.File) error) (err error) {
	path := digest.ObjectPath()
	if err := d.makeDir(digest.Bytes()[0], path[:2]); err != nil {
		return err
	}
	t, err := d.newTemp(path[:2])
	if err != nil {
		return fmt.Errorf("create object: %w", err)
	}
	defer t.drop()
	if err := fill(t.File); err != nil {
		return fmt.Errorf("write object: %w", err)
	}
	if err := t.Chmod(0o644); err != nil {
		return fmt.Errorf("write object: %w", err)
	}
	if d.opts.Verity != VerityOff {
		// fs-verity wants no writer.
		if err := t.reopen(d); err != nil {
			return fmt.Errorf("write object: %w", err)
		}
		if err := d.enableVerity(t.File); err != nil {
			return err
		}
	}
	if err := t.name(d, path, replace); err != nil {
		return fmt.Errorf("name object: %w", err)
	}
	d.checked.Store(digest, nil)
	return nil
}

// makeDir makes the directory of the objects that start with byte b, once.
func (d *Dir) makeDir(b byte, name string) error {
	if d.made[b].Load() {
		return nil
	}
	if err := d.root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create object directory: %w", err)
	}
	d.made[b].Store(true)
	return nil
}

// RemoveTemporaries removes what writers that were killed have left on filesystems without
// O_TMPFILE. No writer may be at work.
func (d *Dir) RemoveTemporaries() error {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if len(e.Name()) == len(tempPrefix)+12 && e.Name()[:len(tempPrefix)] == tempPrefix {
			if err := d.root.Remove(e.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}
