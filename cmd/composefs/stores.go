package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// openNow is [os.Open], but does not wait for a writer where the path is that of a FIFO.
func openNow(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDONLY|nonblock, 0) }

const nonblock = syscall.O_NONBLOCK

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

func (s stores) close() {
	for _, root := range s {
		root.Close() // nothing was written
	}
}

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
