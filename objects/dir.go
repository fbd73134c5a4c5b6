package objects

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-composefs/composefs/fsverity"
)

// Errors that callers branch on.
var (
	// ErrNotFound reports an object that the store does not have.
	ErrNotFound = fs.ErrNotExist
	// ErrCorrupt reports an object whose content is not what its name says.
	ErrCorrupt = errors.New("object does not match its digest")
	// ErrChanged reports a file that changed while it was stored.
	ErrChanged = errors.New("file changed while it was read")
)

// Verity says whether objects get fs-verity.
type Verity int

// The choices for fs-verity.
const (
	VerityOff     Verity = iota // leave objects as they are
	VerityTry                   // enable it where the filesystem can
	VerityRequire               // fail where it cannot
)

// Options say how a store is used. The zero value opens an existing store for SHA-256.
type Options struct {
	Algorithm fsverity.Algorithm // of the digests; the zero value means SHA-256
	Verity    Verity
	Create    bool // make the directory, and those above it, if missing
	// TrustExisting takes an object of the right size for the right one, without comparing
	// its content.
	TrustExisting bool
}

// Dir is an open store.
type Dir struct {
	path string
	opts Options
	root *os.Root
	dir  *os.File // the same directory, for system calls

	made [256]atomic.Bool // which xx directories are known to exist
	// checked has the objects that this Dir has found good, so that content which occurs
	// often is compared once.
	checked sync.Map
	// noVerity is set once the filesystem has refused fs-verity, noReflink likewise.
	noVerity, noReflink atomic.Bool
	named               bool // give temporary files names even where they need none
}

// Open opens the store at path. Close it after use.
func Open(path string, opts Options) (*Dir, error) {
	if opts.Algorithm == (fsverity.Algorithm{}) {
		opts.Algorithm = fsverity.SHA256
	}
	if !opts.Algorithm.Valid() {
		return nil, fmt.Errorf("%w: %v", fsverity.ErrAlgorithm, opts.Algorithm)
	}
	if opts.Create {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, fmt.Errorf("create store: %w", err)
		}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	dir, err := root.Open(".")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), root.Close())
	}
	return &Dir{path: path, opts: opts, root: root, dir: dir}, nil
}

// Close releases the directory. Objects that were put and not synced stay.
func (d *Dir) Close() error { return errors.Join(d.dir.Close(), d.root.Close()) }

// Path returns the path the store was opened by.
func (d *Dir) Path() string { return d.path }

// File returns the directory itself, which stays the Dir's.
func (d *Dir) File() *os.File { return d.dir }

// OpenObject opens an object for reading. It is not verified; see [Dir.Verify].
func (d *Dir) OpenObject(digest fsverity.Digest) (*os.File, error) {
	return d.OpenBacking(digest.ObjectPath())
}

// OpenBacking opens the file at a backing path, as images record it: relative to the store,
// whatever slashes it starts with. It never leads out of the store, not by symlinks either.
func (d *Dir) OpenBacking(path string) (*os.File, error) {
	f, err := d.root.Open(strings.TrimLeft(path, "/"))
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

// Stat returns what the filesystem knows of an object.
func (d *Dir) Stat(digest fsverity.Digest) (fs.FileInfo, error) {
	return d.root.Lstat(digest.ObjectPath())
}

// Verify reads an object and compares its digest with its name, and fails with [ErrCorrupt] or
// [ErrNotFound].
func (d *Dir) Verify(ctx context.Context, digest fsverity.Digest) error {
	f, err := d.OpenObject(digest)
	if err != nil {
		return err
	}
	defer f.Close()
	return d.verify(ctx, f, digest)
}

func (d *Dir) verify(ctx context.Context, f *os.File, digest fsverity.Digest) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	got, err := fsverity.File(ctx, f, info.Size(), d.hashing())
	if err != nil {
		return fmt.Errorf("read object %s: %w", digest.ObjectPath(), err)
	}
	if got != digest {
		return fmt.Errorf("object %s: %w: its content has %s", digest.ObjectPath(), ErrCorrupt, got)
	}
	return nil
}

func (d *Dir) hashing() fsverity.FileOptions {
	return fsverity.FileOptions{Options: fsverity.Options{Algorithm: d.opts.Algorithm}}
}

// All goes through the objects of the store in no particular order. Other files are passed over.
func (d *Dir) All() iter.Seq2[fsverity.Digest, error] {
	return func(yield func(fsverity.Digest, error) bool) {
		for i := range 256 {
			sub := fmt.Sprintf("%02x", i)
			entries, err := fs.ReadDir(d.root.FS(), sub)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				yield(fsverity.Digest{}, err)
				return
			}
			for _, e := range entries {
				digest, err := fsverity.ParseDigest(sub + e.Name())
				if err != nil || digest.ObjectPath() != filepath.ToSlash(filepath.Join(sub, e.Name())) {
					continue
				}
				if !yield(digest, nil) {
					return
				}
			}
		}
	}
}
