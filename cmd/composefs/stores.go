package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/tree"
)

// openNow is [os.Open], but does not wait for a writer where the path is that of a FIFO.
func openNow(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDONLY|nonblock, 0) }

const nonblock = syscall.O_NONBLOCK

// objectSource is where the objects of an image are.
type objectSource interface {
	fs.FS
	tree.Opener
	// has says whether there is an object at a path, without verifying it.
	has(path string) (bool, error)
	close()
}

// stores are object directories that are searched one after another. Nothing outside of them
// is opened, whatever an image or a symlink says.
type stores []*os.Root

// openStores opens object directories. The caller closes them.
func openStores(paths []string) (stores, error) {
	var s stores
	for _, path := range paths {
		root, err := os.OpenRoot(path)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("open store: %w", err)
		}
		s = append(s, root)
	}
	return s, nil
}

// Open implements [fs.FS].
func (s stores) Open(name string) (fs.File, error) {
	for _, root := range s {
		// What is no regular file is refused later, but must not block here.
		f, err := root.OpenFile(name, os.O_RDONLY|nonblock, 0)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("store %s: %w", root.Name(), err)
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// OpenObject implements [tree.Opener].
func (s stores) OpenObject(n *tree.Inode) (io.ReadCloser, error) { return openBacking(s, n) }

// has implements objectSource.
func (s stores) has(path string) (bool, error) {
	for _, root := range s {
		_, err := root.Stat(path)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("store %s: %w", root.Name(), err)
		}
	}
	return false, nil
}

func (s stores) close() {
	for _, root := range s {
		root.Close() // nothing was written
	}
}

// repositoryObjects are the objects of a repository and its stores.
type repositoryObjects struct{ *repository.Repository }

// Open implements [fs.FS].
func (r repositoryObjects) Open(name string) (fs.File, error) {
	digest, ok := digestAt(name)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	f, err := r.Repository.OpenObject(digest)
	if err != nil {
		return nil, err // not f, which would be no nil interface
	}
	return f, nil
}

// OpenObject implements [tree.Opener].
func (r repositoryObjects) OpenObject(n *tree.Inode) (io.ReadCloser, error) { return openBacking(r, n) }

// has implements objectSource.
func (r repositoryObjects) has(path string) (bool, error) {
	digest, ok := digestAt(path)
	if !ok {
		return false, nil
	}
	return r.Has(digest)
}

func (r repositoryObjects) close() { r.Close() }

// digestAt returns the digest of the object at a path of a store.
func digestAt(path string) (fsverity.Digest, bool) {
	digest, err := fsverity.ParseDigest(strings.Replace(path, "/", "", 1))
	return digest, err == nil && digest.ObjectPath() == path
}

// openBacking opens the content of an external file.
func openBacking(objects fs.FS, n *tree.Inode) (io.ReadCloser, error) {
	path := strings.TrimLeft(n.BackingPath(), "/")
	f, err := objects.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("object %s: %w", path, errNotStored)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// noObjects is where nobody said that there are any.
type noObjects struct{}

// OpenObject implements [tree.Opener].
func (noObjects) OpenObject(*tree.Inode) (io.ReadCloser, error) { return nil, errStoreNeeded }

// reader reads until its context ends.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
