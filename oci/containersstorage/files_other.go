//go:build !linux

package containersstorage

import (
	"context"
	"io"
	"os"
	"syscall"
)

// fileOpener opens the files of a layer.
type fileOpener interface {
	io.Closer
	// open opens whatever is at a path of the diff directory, but never a symlink there.
	open(path string) (*os.File, error)
}

type diffFiles struct{ *os.Root }

func openFiles(root *os.Root, dir string) (fileOpener, error) {
	r, err := root.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return diffFiles{r}, nil
}

func (d diffFiles) open(path string) (*os.File, error) {
	return d.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
}

// lockShared does nothing: podman does not run here.
func lockShared(context.Context, *os.File) error { return nil }
