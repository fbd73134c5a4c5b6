package repository

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
)

// sources are where good copies of objects may be.
type sources struct {
	stores []*store
	from   []*source
	sizes  map[int64]struct{} // of wanted objects
	all    bool               // sizes of some are not known
}

// source is a directory with copies.
type source struct {
	path  string
	dir   *objects.Dir
	root  *os.Root
	files map[fsverity.Digest]string // wanted objects by content; nil until they are looked for
}

func (r *Repository) openSources(from []string, found *Checked) (*sources, error) {
	s := &sources{stores: r.stores, sizes: map[int64]struct{}{}}
	for _, p := range found.Problems {
		switch {
		case p.Kind != ProblemObject && p.Kind != ProblemMissing:
		case p.size > 0:
			s.sizes[p.size] = struct{}{}
		default:
			s.all = true
		}
	}
	for _, path := range from {
		root, err := os.OpenRoot(path)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		src := &source{path: path, root: root}
		s.from = append(s.from, src)
		dir := path
		if _, err := root.Stat(objectsDir); err == nil {
			dir = filepath.Join(path, objectsDir)
		}
		if src.dir, err = objects.Open(dir, objects.Options{Algorithm: r.meta.Algorithm}); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

func (s *sources) Close() error {
	var errs []error
	for _, src := range s.from {
		errs = append(errs, src.root.Close())
		if src.dir != nil {
			errs = append(errs, src.dir.Close())
		}
	}
	return errors.Join(errs...)
}

// restore puts a good copy of an object, and says from where. Copies that are not good are passed
// over.
func (s *sources) restore(ctx context.Context, to *objects.Dir, p *Problem) (string, error) {
	for _, store := range s.stores {
		if store.dir == nil {
			continue
		}
		if ok, err := restoreFrom(ctx, to, p.Object, func() (*os.File, error) { return store.dir.OpenObject(p.Object) }); ok || err != nil {
			return "copied from " + store.path, err
		}
	}
	for _, src := range s.from {
		if ok, err := restoreFrom(ctx, to, p.Object, func() (*os.File, error) { return src.dir.OpenObject(p.Object) }); ok || err != nil {
			return "copied from " + src.path, err
		}
		if err := src.index(ctx, s, p.Object); err != nil {
			return "", err
		}
		name, ok := src.files[p.Object]
		if !ok {
			continue
		}
		if ok, err := restoreFrom(ctx, to, p.Object, func() (*os.File, error) { return src.root.Open(name) }); ok || err != nil {
			return "copied from " + filepath.Join(src.path, name), err
		}
	}
	return "", nil
}

// restoreFrom puts a copy if it can be opened and is good.
func restoreFrom(ctx context.Context, to *objects.Dir, digest fsverity.Digest, open func() (*os.File, error)) (bool, error) {
	f, err := open()
	if err != nil {
		return false, nil // then it is no copy
	}
	defer f.Close()
	_, err = putVerified(ctx, to, f, digest)
	if errors.Is(err, objects.ErrCorrupt) || errors.Is(err, objects.ErrChanged) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("copy %s: %w", f.Name(), err)
	}
	return true, nil
}

// index finds out by their contents which of a directory's files are copies of objects. Files of other
// sizes than those that are wanted are not read.
func (src *source) index(ctx context.Context, s *sources, like fsverity.Digest) error {
	if src.files != nil {
		return nil
	}
	src.files = map[fsverity.Digest]string{}
	alg := fsverity.Algorithm{Hash: like.Hash(), BlockBits: fsverity.SHA256.BlockBits}
	return fs.WalkDir(src.root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil // what cannot be read is no copy
		}
		info, err := e.Info()
		if err != nil {
			return nil // it is gone
		}
		if _, wanted := s.sizes[info.Size()]; !wanted && !s.all {
			return nil
		}
		f, err := src.root.Open(name)
		if err != nil {
			return nil // another user's
		}
		defer f.Close()
		digest, err := fsverity.File(ctx, f, info.Size(), fsverity.FileOptions{Options: fsverity.Options{Algorithm: alg}})
		if err == nil {
			src.files[digest] = name
		}
		return ctx.Err()
	})
}
