package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// exportTarget is a directory that is filled. A missing one is filled under another name beside
// it and appears complete or not at all; one that exists is emptied again if that fails.
type exportTarget struct {
	*os.File
	path  string // where it is now
	final string // where it will be; empty if it is there already
	done  bool
}

// makeTarget makes or opens the directory at path, which may not have anything in it.
func makeTarget(path string) (*exportTarget, error) {
	path = filepath.Clean(path)
	entries, err := os.ReadDir(path)
	t := &exportTarget{path: path}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		t.path = filepath.Join(filepath.Dir(path), "."+rand.Text()[:12]+".tmp")
		t.final = path
		if err := os.Mkdir(t.path, 0o700); err != nil {
			return nil, fmt.Errorf("create %s: %w", path, err)
		}
	case err != nil:
		return nil, err
	case len(entries) > 0:
		return nil, fmt.Errorf("%s: directory is not empty", path)
	}
	// Errors name the directory as the user does.
	fd, err := syscall.Open(t.path, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.abort()
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	t.File = os.NewFile(uintptr(fd), path)
	return t, nil
}

// commit gives the directory its name.
func (t *exportTarget) commit() error {
	if t.final != "" {
		if err := os.Rename(t.path, t.final); err != nil {
			return err
		}
	}
	t.done = true
	return t.Close()
}

// abort removes what was written, unless commit has succeeded.
func (t *exportTarget) abort() {
	if t.done {
		return
	}
	t.done = true
	if t.File != nil {
		t.Close() // it is only read
	}
	// Directories may have their final permissions, which can forbid to empty them. What
	// cannot be removed stays: there is nothing more to do.
	_ = filepath.WalkDir(t.path, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	if t.final != "" {
		_ = os.RemoveAll(t.path)
		return
	}
	entries, _ := os.ReadDir(t.path)
	for _, e := range entries {
		_ = os.RemoveAll(filepath.Join(t.path, e.Name()))
	}
}
