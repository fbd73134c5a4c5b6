package objects

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	// ErrChanged reports a file that changed while it was stored, or an object that was replaced while it was
	// made again.
	ErrChanged = errors.New("file changed while it was read")
)

// Verity says whether objects get fs-verity.
type Verity int

// The choices for fs-verity.
const (
	VerityOff     Verity = iota // leave objects as they are
	VerityTry                   // enable it where the filesystem can
	VerityRequire               // fail with fsverity.ErrNoVerity where it cannot
)

// Options say how a store is used. The zero value opens an existing store for SHA-256.
type Options struct {
	Algorithm fsverity.Algorithm // of the digests; the zero value means SHA-256
	Verity    Verity             // for objects that are put, also those that are there already
	Create    bool               // make the directory, and those above it, if missing
	// CompareExisting compares the content of objects that are there already also if nobody
	// seems to have written to them since they were stored.
	CompareExisting bool
	// Claim, if not nil, is told the digest of everything that is put, before the store looks
	// whether it has the object; an error ends the putting. By it others learn what must not
	// be removed from now on. It is called by many goroutines at once.
	Claim func(digest fsverity.Digest) error
	// Elsewhere, if not nil, says whether an object that this store lacks need not be stored,
	// because another store has it. It is called by many goroutines at once.
	Elsewhere func(digest fsverity.Digest, size int64) (bool, error)
	// Link lets Put make a hard link of the file, which from then on must not change, where its
	// filesystem is the store's. Blocks are not shared then, nor is the mode set.
	Link bool
}

// Dir is an open store.
type Dir struct {
	path string
	opts Options
	root *os.Root
	dir  *os.File // the same directory, for system calls

	made       [256]atomic.Bool // which directories of objects are known to exist
	noVerity   atomic.Bool      // the filesystem has refused to enable fs-verity
	noUnnamed  atomic.Bool      // and to make files without a name
	noClone    atomic.Bool      // and to share blocks
	noCopy     atomic.Bool      // and to copy files by itself
	foreign    sync.Map         // devices (uint64) whose files cannot share blocks with the store
	kernel     kernel           // nil: the real one
	beforeStep func(step string) error
}

// Open opens the store at path. Close it after use.
func Open(path string, opts Options) (*Dir, error) {
	if opts.Create {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, fmt.Errorf("create store: %w", err)
		}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return newDir(root, path, opts)
}

// OpenIn opens the store at a path beneath root, which stays the caller's. Close the store
// after use.
func OpenIn(root *os.Root, path string, opts Options) (*Dir, error) {
	if opts.Create {
		if err := root.MkdirAll(path, 0o755); err != nil {
			return nil, fmt.Errorf("create store: %w", err)
		}
	}
	own, err := root.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return newDir(own, filepath.Join(root.Name(), path), opts)
}

// newDir takes root over.
func newDir(root *os.Root, path string, opts Options) (*Dir, error) {
	if opts.Algorithm == (fsverity.Algorithm{}) {
		opts.Algorithm = fsverity.SHA256
	}
	if !opts.Algorithm.Valid() {
		return nil, errors.Join(fmt.Errorf("%w: %v", fsverity.ErrAlgorithm, opts.Algorithm), root.Close())
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
