package objects

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"strings"
	"syscall"

	"github.com/go-composefs/composefs/fsverity"
)

// Has says whether the store has an object, which is a regular file of that name. It is not
// verified.
func (d *Dir) Has(digest fsverity.Digest) (bool, error) {
	info, err := d.Stat(digest)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.Mode().IsRegular(), err
}

// Stat returns what the filesystem knows of an object. Errors wrap [ErrNotFound] if it is not
// there.
func (d *Dir) Stat(digest fsverity.Digest) (fs.FileInfo, error) {
	return d.root.Lstat(digest.ObjectPath())
}

// Size returns the size of an object in bytes, faster than [Dir.Stat].
func (d *Dir) Size(digest fsverity.Digest) (int64, error) {
	found, err := d.stat(digest.ObjectPath())
	return found.size, err
}

// Remove removes an object, which nobody may need: it does not ask.
func (d *Dir) Remove(digest fsverity.Digest) error { return d.unlink(digest.ObjectPath()) }

// OpenObject opens an object for reading. It is not verified; see [Dir.Verify]. Close it after
// use.
func (d *Dir) OpenObject(digest fsverity.Digest) (*os.File, error) {
	return d.OpenBacking(digest.ObjectPath())
}

// OpenBacking opens the file at a backing path, as images record it: relative to the store,
// whatever slashes it starts with. It never leads out of the store, not by symlinks either, and
// opens nothing but regular files. Close it after use.
func (d *Dir) OpenBacking(path string) (*os.File, error) {
	// Without O_NONBLOCK a FIFO would wait for a writer.
	f, err := d.root.OpenFile(strings.TrimLeft(path, "/"), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open object: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open object: %w", err), f.Close())
	}
	return f, nil
}

// Verify reads an object and compares its digest with its name. Errors wrap [ErrCorrupt] or
// [ErrNotFound] where they apply.
func (d *Dir) Verify(ctx context.Context, digest fsverity.Digest) error {
	f, err := d.OpenObject(digest)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	got, err := fsverity.File(ctx, f, info.Size(), d.hashing(digest.Hash()))
	if err != nil {
		return fmt.Errorf("read object %s: %w", digest.ObjectPath(), err)
	}
	if got != digest {
		return fmt.Errorf("object %s: %w: its content has %s", digest.ObjectPath(), ErrCorrupt, got)
	}
	return nil
}

// hashing returns how the store's objects are hashed if their digests are of hash.
func (d *Dir) hashing(hash fsverity.Hash) fsverity.FileOptions {
	alg := fsverity.Algorithm{Hash: hash, BlockBits: d.opts.Algorithm.BlockBits}
	return fsverity.FileOptions{Options: fsverity.Options{Algorithm: alg}}
}

// All goes through the names of the store's objects, in order. What is behind them is not
// looked at; files of other names are passed over.
func (d *Dir) All() iter.Seq2[fsverity.Digest, error] {
	return func(yield func(fsverity.Digest, error) bool) {
		for i := range 256 {
			sub := subName(byte(i))
			entries, err := fs.ReadDir(d.root.FS(), sub)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				yield(fsverity.Digest{}, fmt.Errorf("list objects: %w", err))
				return
			}
			for _, e := range entries {
				digest, err := fsverity.ParseDigest(sub + e.Name())
				if err != nil || digest.ObjectPath() != sub+"/"+e.Name() {
					continue // not an object's name, or one in capitals
				}
				if !yield(digest, nil) {
					return
				}
			}
		}
	}
}

// subName is the name of the directory of the objects whose digests start with b.
func subName(b byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[b>>4], digits[b&15]})
}
