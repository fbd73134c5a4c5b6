package objects

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"strings"
	"time"

	"github.com/go-composefs/composefs/fsverity"
)

// objectMode is the mode of objects, whatever the process's mask.
const objectMode = 0o644

// temp is an object being written. Without a name, if the filesystem can do that, nothing is
// left of it when the process is killed.
type temp struct {
	*os.File
	dir  *Dir
	path string // its temporary name; empty while it has none
}

// newTemp opens a file for an object, in its own directory if the digest is known already: many
// writers in one directory would wait for each other.
func (d *Dir) newTemp(digest fsverity.Digest) (t *temp, err error) {
	if digest.IsZero() {
		return d.openTemp(".")
	}
	err = d.inSub(digest, func(sub string) error {
		t, err = d.openTemp(sub)
		return err
	})
	return t, err
}

func (d *Dir) openTemp(sub string) (*temp, error) {
	if err := d.step("open"); err != nil {
		return nil, err
	}
	if !d.noUnnamed.Load() {
		f, err := d.openUnnamed(sub)
		if err == nil {
			return &temp{File: f, dir: d}, nil
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			return nil, err
		}
		d.noUnnamed.Store(true)
	}
	path := tempPath(sub)
	f, err := d.root.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, objectMode)
	if err != nil {
		return nil, err
	}
	return &temp{File: f, dir: d, path: path}, nil
}

// inSub does something in the directory of an object, which it makes if it is missing. That can
// also be because another process has removed it when it was empty.
func (d *Dir) inSub(digest fsverity.Digest, do func(sub string) error) error {
	var sum [64]byte
	b := digest.Append(sum[:0])[0]
	sub := subName(b)
	if d.made[b].Load() {
		if err := do(sub); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := d.step("mkdir"); err != nil {
		return err
	}
	if err := d.root.Mkdir(sub, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d.made[b].Store(true)
	return do(sub)
}

// finish gives a complete object its name. replace puts it in the place of what is there;
// otherwise the object that another writer has made meanwhile stays.
func (d *Dir) finish(ctx context.Context, t *temp, digest fsverity.Digest, replace bool) (Stored, error) {
	if err := d.step("chmod"); err != nil {
		return Stored{}, err
	}
	if err := t.Chmod(objectMode); err != nil {
		return Stored{}, fmt.Errorf("write object: %w", err)
	}
	seal(t.File, digest)
	if d.wantsVerity() {
		if err := d.protect(ctx, t, digest); err != nil {
			return Stored{}, fmt.Errorf("protect object: %w", err)
		}
	}
	err := d.inSub(digest, func(sub string) error {
		return d.name(t, sub, digest.ObjectPath(), replace)
	})
	if errors.Is(err, fs.ErrExist) {
		return Stored{digest, true}, nil
	}
	if err != nil {
		return Stored{}, fmt.Errorf("name object: %w", err)
	}
	return Stored{digest, false}, nil
}

// link makes a file itself the object, under a further name, if the filesystem can. The file's digest
// was taken before: unless fs-verity has the last word, nobody knows whether it changes.
func (d *Dir) link(ctx context.Context, f *os.File, digest fsverity.Digest) (bool, error) {
	err := d.step("link")
	if err == nil {
		err = d.inSub(digest, func(string) error { return linkFile(f, d.dir, digest.ObjectPath()) })
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return true, nil
	case cannotLink(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("link object: %w", err)
	}
	if !d.wantsVerity() {
		return true, nil
	}
	if good, err := d.protectExisting(ctx, digest.ObjectPath(), digest); err != nil || !good {
		if err == nil {
			err = ErrChanged
		}
		return false, errors.Join(fmt.Errorf("protect object: %w", err), d.root.Remove(digest.ObjectPath()))
	}
	return true, nil
}

// protect enables fs-verity, for which nobody may have the file open for writing.
func (d *Dir) protect(ctx context.Context, t *temp, digest fsverity.Digest) error {
	if err := d.step("reopen"); err != nil {
		return err
	}
	f, err := d.reopen(t)
	if err != nil {
		return err
	}
	err = t.Close()
	t.File = f
	if err != nil {
		return err
	}
	return d.enableVerity(ctx, f, digest)
}

// wantsVerity says whether fs-verity shall be enabled, as far as is known.
func (d *Dir) wantsVerity() bool {
	return d.opts.Verity == VerityRequire || (d.opts.Verity == VerityTry && !d.noVerity.Load())
}

// enableVerity protects a complete object that is open for reading only.
func (d *Dir) enableVerity(ctx context.Context, f *os.File, digest fsverity.Digest) error {
	err := d.step("enable")
	if err == nil {
		opts := fsverity.EnableOptions{Options: fsverity.Options{Algorithm: d.opts.Algorithm}}
		err = whileBusy(ctx, func() error { return fsverity.Enable(f, opts) })
	}
	switch {
	case err == nil || errors.Is(err, fsverity.ErrAlreadyEnabled):
		got, err := fsverity.Measure(f)
		if err == nil && got != digest {
			err = fmt.Errorf("%s: %w: the kernel has %v", digest.ObjectPath(), fsverity.ErrDigestMismatch, got)
		}
		return err
	case errors.Is(err, fsverity.ErrNoVerity):
		d.noVerity.Store(true)
	}
	if d.opts.Verity == VerityTry && ctx.Err() == nil {
		return nil
	}
	return err
}

// whileBusy repeats what fails only for a moment: another process that puts the same object is
// enabling fs-verity, or one that this process is starting holds the descriptor that the object
// was written by until it runs its program.
func whileBusy(ctx context.Context, enable func() error) error {
	for wait := time.Millisecond; ; wait *= 2 {
		err := enable()
		if !isBusy(err) || wait > time.Second {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// drop closes the file and removes its temporary name.
func (t *temp) drop() {
	_ = t.Close() // either named, or unwanted
	if t.path != "" {
		_ = t.dir.root.Remove(t.path) // nothing more can be done
	}
}

// step lets tests fail the steps of making an object.
func (d *Dir) step(name string) error {
	if d.beforeStep == nil {
		return nil
	}
	return d.beforeStep(name)
}

const tempPrefix = ".tmp-object-"

func tempPath(sub string) string { return sub + "/" + tempPrefix + rand.Text()[:12] }

// Temporary is what a killed writer has left.
type Temporary struct {
	Path string // in the store
	Size int64  // bytes
}

// Temporaries goes through what killed writers have left: temporary files that nobody has written to
// since the given time.
func (d *Dir) Temporaries(before time.Time) iter.Seq2[Temporary, error] {
	return func(yield func(Temporary, error) bool) {
		for i := -1; i < 256; i++ {
			sub := "." // of streams
			if i >= 0 {
				sub = subName(byte(i))
			}
			entries, err := fs.ReadDir(d.root.FS(), sub)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				yield(Temporary{}, fmt.Errorf("list temporary objects: %w", err))
				return
			}
			for _, e := range entries {
				if len(e.Name()) != len(tempPrefix)+12 || !strings.HasPrefix(e.Name(), tempPrefix) {
					continue
				}
				info, err := e.Info()
				if err != nil || !info.Mode().IsRegular() || !info.ModTime().Before(before) {
					continue // it is gone, or in use
				}
				if !yield(Temporary{path.Join(sub, e.Name()), info.Size()}, nil) {
					return
				}
			}
		}
	}
}

// RemoveTemporaries removes [Dir.Temporaries].
func (d *Dir) RemoveTemporaries(before time.Time) error {
	for t, err := range d.Temporaries(before) {
		if err != nil {
			return err
		}
		if err := d.root.Remove(t.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove temporary object: %w", err)
		}
	}
	return nil
}
