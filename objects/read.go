package objects

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"strings"

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
	f, err := d.openBeneath(strings.TrimLeft(path, "/"))
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
		for b := range 256 {
			names, err := d.NamesIn(byte(b))
			if err != nil {
				yield(fsverity.Digest{}, err)
				return
			}
			for _, found := range names {
				if !found.Digest.IsZero() && !yield(found.Digest, nil) {
					return
				}
			}
		}
	}
}

// Name is the name of something in a directory of objects.
type Name struct {
	Path   string          // from the store on; set if it is no object
	Digest fsverity.Digest // of an object; else zero
	Type   fs.FileMode     // what it is, as the directory says
}

// NamesIn lists the directory of the objects whose digests begin with a byte, in order, with what is
// beside them there.
func (d *Dir) NamesIn(first byte) ([]Name, error) {
	sub := subName(first)
	entries, err := fs.ReadDir(d.root.FS(), sub)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list objects: %w", err)
	}
	names := make([]Name, len(entries))
	for i, e := range entries {
		names[i].Type = e.Type()
		digest, err := fsverity.ParseDigest(sub + e.Name())
		if err == nil && strings.ToLower(e.Name()) == e.Name() {
			names[i].Digest = digest
		} else {
			names[i].Path = sub + "/" + e.Name()
		}
	}
	return names, nil
}

// subName is the name of the directory of the objects whose digests start with b.
func subName(b byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[b>>4], digits[b&15]})
}
