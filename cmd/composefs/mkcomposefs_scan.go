package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
	"github.com/go-composefs/composefs/tree"
)

// maxJobs bounds the files that are read at once, because each takes some memory.
const maxJobs = 256

// readDirectory reads the tree from a directory and, if that is wanted, stores its files.
// out is where the image will go: it is never part of the tree, nor is the store.
func (m *mkcomposefsCommand) readDirectory(ctx context.Context, out imageOutput) (*tree.Inode, error) {
	source, err := m.openSource()
	if err != nil {
		return nil, err
	}
	defer source.Close()
	opts := tree.ScanOptions{
		SkipXattrs:  m.skipXattrs,
		UserXattrs:  m.userXattrs,
		SkipDevices: m.skipDevices,
		UseEpoch:    m.useEpoch,
		Jobs:        min(m.threads, maxJobs),
	}
	if m.image != "-" {
		opts.Skip = imageIDs(out, m.image)
	}
	if !m.hasStore {
		root, err := tree.Scan(ctx, source, opts)
		return root, m.scanError(err)
	}

	store, err := m.openStore()
	if err != nil {
		return nil, storeError{err}
	}
	defer store.Close()
	id, err := tree.FileIDOf(store.File())
	if err != nil {
		return nil, storeError{err}
	}
	opts.Skip = append(opts.Skip, id)
	opts.Sink = storeSink{store}
	root, err := tree.Scan(ctx, source, opts)
	if err != nil {
		return nil, m.scanError(err)
	}
	if err := store.Sync(); err != nil {
		return nil, storeError{err}
	}
	return root, nil
}

// openSource opens the directory. A symlink is not one, unless a slash stands behind it.
func (m *mkcomposefsCommand) openSource() (*os.File, error) {
	info, err := os.Lstat(m.source)
	if err != nil {
		return nil, fmt.Errorf("error accessing %s: %s", m.source, strerror(withoutPath(err)))
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("cannot write file: %s (%s)", cText(syscall.ENOTDIR), m.source)
	}
	f, err := os.OpenFile(m.source, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("error accessing %s: %s", m.source, strerror(withoutPath(err)))
	}
	return f, nil
}

func (m *mkcomposefsCommand) openStore() (*objects.Dir, error) {
	path := m.digestStore
	if path == "" {
		path = "."
	}
	return objects.Open(path, objects.Options{Create: true, Verity: objects.VerityTry})
}

// scanError says what the C program says where a tree cannot be read.
func (m *mkcomposefsCommand) scanError(err error) error {
	at := m.source
	reading := false // a regular file's content
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		at = path.Path
		info, statErr := os.Lstat(at)
		reading = (path.Op == "open" || path.Op == "read") && statErr == nil && info.Mode().IsRegular()
	}
	var store storeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &store):
		return storeError{fmt.Errorf("%s: %w", at, store.err)}
	case errors.Is(err, tree.ErrOptions):
		return fmt.Errorf("error accessing %s: %s (%w)", at, cText(syscall.EINVAL), err)
	case reading:
		return fmt.Errorf("error computing digest: %s", strerror(err))
	}
	return fmt.Errorf("error accessing %s: %s", at, strerror(withoutPath(err)))
}

// storeError is an error of the object store.
type storeError struct{ err error }

func (e storeError) Error() string { return "cannot fill store: " + strerror(e.err) }

// storeSink puts files into a store.
type storeSink struct{ dir *objects.Dir }

func (s storeSink) Put(ctx context.Context, f *os.File, size int64) (fsverity.Digest, error) {
	stored, err := s.dir.Put(ctx, f, size)
	if err != nil {
		return fsverity.Digest{}, storeError{err}
	}
	return stored.Digest, nil
}
