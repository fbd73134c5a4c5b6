package repository

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
)

// storesName is the file that names the other stores of a repository with [FeatureStores]: an array
// of paths in JSON. Those that are not absolute begin at the repository.
const storesName = "stores.json"

// maxStores bounds how many there are, for the kernel bounds the layers of a mount.
const maxStores = 64

// store is another directory of objects, which is only read.
type store struct {
	path string // as it was given
	dir  *objects.Dir
}

// openStores opens the other stores. One that is missing, because its disk is not mounted, say, must
// not make the repository useless: it is passed over here and named by Check.
func (r *Repository) openStores() error {
	if !slices.Contains(r.meta.Features.Incompatible, FeatureStores) {
		return nil
	}
	paths, err := r.storePaths()
	if err != nil {
		return err
	}
	return r.addStores(paths)
}

func (r *Repository) addStores(paths []string) error {
	for _, path := range paths {
		dir, err := objects.Open(r.storeDir(path), objects.Options{Algorithm: r.meta.Algorithm})
		if err != nil && !gone(err) {
			return err
		}
		r.stores = append(r.stores, &store{path, dir})
	}
	return nil
}

func (r *Repository) closeStores() error {
	var errs []error
	for _, s := range r.stores {
		if s.dir != nil {
			errs = append(errs, s.dir.Close())
		}
	}
	r.stores = nil
	return errors.Join(errs...)
}

// storeDir returns where the objects of a store are: it may be a repository itself.
func (r *Repository) storeDir(path string) string {
	if !filepath.IsAbs(path) {
		path = filepath.Join(r.path, path)
	}
	if _, err := os.Stat(filepath.Join(path, metaName)); err == nil {
		path = filepath.Join(path, objectsDir)
	}
	return path
}

func (r *Repository) storePaths() ([]string, error) {
	f, err := r.root.Open(storesName)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMeta))
	if err != nil {
		return nil, err
	}
	var paths []string
	if err := json.Unmarshal(data, &paths); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", storesName, ErrCorrupt, err)
	}
	if len(paths) > maxStores {
		return nil, fmt.Errorf("%s: %w: %d stores, %d are allowed", storesName, ErrCorrupt, len(paths), maxStores)
	}
	return paths, nil
}

// Stores returns the paths of the other stores, in the order in which they are searched after the
// repository itself.
func (r *Repository) Stores() []string {
	list := make([]string, len(r.stores))
	for i, s := range r.stores {
		list[i] = s.path
	}
	return list
}

// ObjectDirs returns the directories of objects, the repository's own first: the data-only layers of
// a mount. They stay the repository's. Stores that are missing are left out.
func (r *Repository) ObjectDirs() []*os.File {
	dirs := []*os.File{r.objects.File()}
	for _, s := range r.stores {
		if s.dir != nil {
			dirs = append(dirs, s.dir.File())
		}
	}
	return dirs
}

// SetStores names the other stores of the repository at path: directories of objects, or
// repositories, which are searched in this order for what the repository lacks, and are never
// written to. An object that one of them has is not stored again; so they must keep what they have.
// A store can be left out that nothing needs, see [Repository.Localize]; else it is [ErrNotFound].
//
// A repository with other stores gets [FeatureStores], by which programs refuse to open it that would
// miss objects. With no paths that is undone.
func SetStores(path string, stores []string) error {
	r, err := Open(path, Options{})
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.setStores(stores); err != nil {
		return fmt.Errorf("set stores of %s: %w", path, err)
	}
	return nil
}

func (r *Repository) setStores(stores []string) error {
	if err := r.writable(); err != nil {
		return err
	}
	if len(stores) > maxStores {
		return fmt.Errorf("%d stores, %d are allowed: %w", len(stores), maxStores, fs.ErrInvalid)
	}
	for _, s := range stores {
		if err := r.checkStore(s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	if err := r.canDo(stores); err != nil {
		return err
	}
	meta := r.meta
	meta.Features.Incompatible = unknownIn(meta.Features.Incompatible, []string{FeatureStores})
	if len(stores) == 0 {
		if err := writeMeta(r.root, &meta, r.verity, true); err != nil {
			return err
		}
		if err := r.root.Remove(storesName); err != nil && !gone(err) {
			return err
		}
		return nil
	}
	meta.Features.Incompatible = append(meta.Features.Incompatible, FeatureStores)
	data, err := json.MarshalIndent(stores, "", "  ")
	if err != nil {
		return err
	}
	// The list is there before the feature, so that a crash leaves a repository that opens.
	if err := r.replaceFile(storesName, append(data, '\n')); err != nil {
		return err
	}
	if slices.Contains(r.meta.Features.Incompatible, FeatureStores) {
		return nil
	}
	return writeMeta(r.root, &meta, r.verity, true)
}

// canDo says whether nothing is missing with these stores, if one that there is now is not among them.
func (r *Repository) canDo(stores []string) error {
	if !slices.ContainsFunc(r.stores, func(s *store) bool { return !slices.Contains(stores, s.path) }) {
		return nil
	}
	with, err := Open(r.path, Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer with.Close()
	if err := with.closeStores(); err != nil {
		return err
	}
	if err := with.addStores(stores); err != nil {
		return err
	}
	return with.allThere()
}

// checkStore says whether a store can be one.
func (r *Repository) checkStore(path string) error {
	where := r.storeDir(path)
	if other, err := Open(filepath.Dir(where), Options{ReadOnly: true}); err == nil && filepath.Base(where) == objectsDir {
		defer other.Close()
		if other.meta.Algorithm != r.meta.Algorithm {
			return fmt.Errorf("it has %s digests, the repository has %s", other.meta.Algorithm, r.meta.Algorithm)
		}
	}
	info, err := os.Stat(where)
	if err != nil {
		return err
	}
	own, err := r.objects.File().Stat()
	if err == nil && os.SameFile(info, own) {
		err = errors.New("it is the repository itself")
	}
	if err == nil && !info.IsDir() {
		err = errors.New("not a directory")
	}
	return err
}

// Has says whether the repository or one of its stores has an object. It is not verified.
func (r *Repository) Has(digest fsverity.Digest) (bool, error) {
	if ok, err := r.objects.Has(digest); ok || err != nil {
		return ok, err
	}
	return r.storedElsewhere(digest, -1)
}

// storedElsewhere says whether another store has an object, of a size unless that is negative.
func (r *Repository) storedElsewhere(digest fsverity.Digest, size int64) (bool, error) {
	for _, s := range r.stores {
		if s.dir == nil {
			continue
		}
		info, err := s.dir.Stat(digest)
		if gone(err) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("store %s: %w", s.path, err)
		}
		if info.Mode().IsRegular() && (size < 0 || info.Size() == size) {
			return true, nil
		}
	}
	return false, nil
}

// StatObject returns what the filesystem knows of an object, in the first store that has it.
func (r *Repository) StatObject(digest fsverity.Digest) (fs.FileInfo, error) {
	info, err := r.objects.Stat(digest)
	for _, s := range r.stores {
		if !gone(err) {
			break
		}
		if s.dir != nil {
			info, err = s.dir.Stat(digest)
		}
	}
	return info, err
}

// OpenObject opens an object for reading, in the first store that has it. If the repository requires
// fs-verity the kernel verifies what is read: then an object without it, or with another digest, is
// [objects.ErrCorrupt]. Otherwise it is not verified. Close it after use.
func (r *Repository) OpenObject(digest fsverity.Digest) (*os.File, error) {
	f, err := r.openRaw(digest)
	if err != nil || !r.verity {
		return f, err
	}
	switch got, err := fsverity.Measure(f); {
	case err != nil:
		err = fmt.Errorf("object %s: %w: %w", digest, objects.ErrCorrupt, err)
		return nil, errors.Join(err, f.Close())
	case got != digest:
		err = fmt.Errorf("object %s: %w: the kernel says %s", digest, objects.ErrCorrupt, got)
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// openRaw is OpenObject without any verification.
func (r *Repository) openRaw(digest fsverity.Digest) (*os.File, error) {
	f, err := r.objects.OpenObject(digest)
	for _, s := range r.stores {
		if !gone(err) {
			break
		}
		if s.dir != nil {
			f, err = s.dir.OpenObject(digest)
		}
	}
	return f, err
}
