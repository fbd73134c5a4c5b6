package repository

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/atomicfile"
	"github.com/go-composefs/composefs/objects"
)

// Options say how a repository is opened. The zero value opens it as it is.
type Options struct {
	ReadOnly bool // nothing is written, whatever the filesystem allows
	// RequireVerity refuses a repository whose objects need not have fs-verity, with
	// [ErrInsecure].
	RequireVerity bool
}

// Repository is an open repository. It is safe for concurrent use, by goroutines and, as a
// directory, by processes.
type Repository struct {
	path     string
	root     *os.Root
	dir      *os.File // the same directory, for locks
	meta     Meta
	legacy   bool // there is no meta.json
	verity   bool // objects must have fs-verity
	readOnly error
	objects  *objects.Dir // never puts: transactions have their own
	stores   []*store

	guard    guard
	leaseDir struct {
		sync.Mutex
		*leaseDir // nil until the first lease
	}
	// beforeStep lets tests fail each step that changes something.
	beforeStep func(step string) error
}

// Open opens the repository at path. Its time does not depend on what the repository holds. Close
// it after use.
func Open(path string, opts Options) (*Repository, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	r := &Repository{path: path, root: root}
	r.guard.r = r
	if err := r.open(opts); err != nil {
		return nil, errors.Join(fmt.Errorf("open repository %s: %w", path, err), r.Close())
	}
	return r, nil
}

func (r *Repository) open(opts Options) error {
	var err error
	if r.dir, err = r.root.Open("."); err != nil {
		return err
	}
	if err := r.readMeta(); err != nil {
		return err
	}
	switch features := r.meta.readOnly(); {
	case len(features) > 0:
		r.readOnly = fmt.Errorf("%w: it has the features %q", ErrReadOnly, features)
	case opts.ReadOnly:
		r.readOnly = ErrReadOnly
	case r.legacy:
		r.readOnly = ErrLegacy
	}
	if opts.RequireVerity && !r.verity {
		return ErrInsecure
	}
	if err := r.openStores(); err != nil {
		return err
	}
	return r.openOwnObjects()
}

// openOwnObjects opens the directory of objects. That of a repository in which nothing was put yet is
// missing if composefs-rs has made it.
func (r *Repository) openOwnObjects() error {
	opts := objects.Options{Algorithm: r.meta.Algorithm}
	var err error
	r.objects, err = objects.OpenIn(r.root, objectsDir, opts)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	opts.Create = r.readOnly == nil
	r.objects, err = objects.OpenIn(r.root, objectsDir, opts)
	return err
}

// readMeta reads meta.json, or finds out what a repository without one is.
func (r *Repository) readMeta() error {
	f, err := r.root.Open(metaName)
	if errors.Is(err, fs.ErrNotExist) {
		return r.guessMeta()
	}
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMeta+1))
	if err != nil {
		return err
	}
	if len(data) > maxMeta {
		return fmt.Errorf("%s: %w: more than %d bytes", metaName, ErrCorrupt, maxMeta)
	}
	if r.meta, err = parseMeta(data); err != nil {
		return err
	}
	// The mark of a repository that requires fs-verity is that meta.json itself has it.
	r.verity, err = hasVerity(f)
	return err
}

// hasVerity says whether a file has fs-verity.
func hasVerity(f *os.File) (bool, error) {
	switch _, err := fsverity.Measure(f); {
	case err == nil || errors.Is(err, fsverity.ErrAlgorithm):
		return true, nil
	case errors.Is(err, fsverity.ErrNoVerity), errors.Is(err, errors.ErrUnsupported):
		return false, nil
	default:
		return false, err
	}
}

// guessMeta tells by the objects what a repository is that is older than meta.json: the length of
// a name gives the algorithm, and fs-verity on an object says that all must have it. Programs of
// that time made V2 images.
func (r *Repository) guessMeta() error {
	dir, err := objects.OpenIn(r.root, objectsDir, objects.Options{})
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotRepository
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	r.legacy = true
	for digest, err := range dir.All() {
		if err != nil {
			return err
		}
		alg := fsverity.Algorithm{Hash: digest.Hash(), BlockBits: fsverity.SHA256.BlockBits}
		if r.meta, err = newMeta(alg, erofs.FormatV2); err != nil {
			return err
		}
		f, err := dir.OpenObject(digest)
		if err != nil {
			return err
		}
		defer f.Close()
		r.verity, err = hasVerity(f)
		return err
	}
	return fmt.Errorf("%w: it has neither %s nor objects", ErrNotRepository, metaName)
}

// Close releases the repository. Transactions and leases must have ended before.
func (r *Repository) Close() error {
	errs := []error{r.root.Close()}
	if r.dir != nil {
		errs = append(errs, r.dir.Close())
	}
	if r.objects != nil {
		errs = append(errs, r.objects.Close())
	}
	errs = append(errs, r.closeStores())
	if r.leaseDir.leaseDir != nil {
		errs = append(errs, r.leaseDir.Close())
	}
	return errors.Join(errs...)
}

// Path returns the path the repository was opened by.
func (r *Repository) Path() string { return r.path }

// Meta returns what the repository says of itself.
func (r *Repository) Meta() Meta { return r.meta }

// Algorithm returns that of the digests.
func (r *Repository) Algorithm() fsverity.Algorithm { return r.meta.Algorithm }

// RequiresVerity says whether every object must have fs-verity.
func (r *Repository) RequiresVerity() bool { return r.verity }

// Legacy says whether the repository is older than meta.json. It can only be read until
// [Upgrade] is called.
func (r *Repository) Legacy() bool { return r.legacy }

// writable returns why nothing may be written, or nil.
func (r *Repository) writable() error {
	if r.readOnly == nil {
		return nil
	}
	return fmt.Errorf("repository %s: %w", r.path, r.readOnly)
}

// step lets tests fail what is about to be done.
func (r *Repository) step(name string) error {
	if r.beforeStep == nil {
		return nil
	}
	return r.beforeStep(name)
}

// syncDir makes the names in a directory durable.
func (r *Repository) syncDir(path string) error {
	if err := r.step("sync " + path); err != nil {
		return err
	}
	dir, err := r.root.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// The directories of a repository.
const (
	objectsDir    = "objects"
	leasesDir     = "leases"
	quarantineDir = "quarantine"
)

// replaceFile writes a file of the repository, which appears complete or not at all.
func (r *Repository) replaceFile(name string, data []byte) error {
	if err := r.step("write " + name); err != nil {
		return err
	}
	f, err := atomicfile.Create(filepath.Join(r.path, name), 0o644)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit()
}
