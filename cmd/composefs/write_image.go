package main

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/term"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/internal/atomicfile"
	"github.com/go-composefs/composefs/tree"
)

// imageOutput is where an image goes. Nothing is at its place before Commit; Abort after
// Commit does nothing.
type imageOutput interface {
	io.Writer
	Commit() error
	Abort()
}

var errTerminal = errors.New("stdout is a tty.  Refusing to use it")

// openImageOutput opens the file at path, or stdout if path is "-".
func openImageOutput(path string, stdout *os.File) (imageOutput, error) {
	switch path {
	case "":
		return nil, syscall.ENOENT
	case "-":
		if term.IsTerminal(int(stdout.Fd())) {
			return nil, errTerminal
		}
		return stream{stdout}, nil
	}
	return atomicfile.Create(path, 0o666)
}

// stream is an output that cannot be taken back, or goes nowhere.
type stream struct{ io.Writer }

func (stream) Commit() error { return nil }
func (stream) Abort()        {}

// writeImage writes the image of a tree, unless ctx ends first.
func writeImage(ctx context.Context, w io.Writer, root *tree.Inode, opts erofs.WriteOptions) (erofs.WriteResult, error) {
	return orInterrupted(ctx, func() (erofs.WriteResult, error) { return erofs.Write(w, root, opts) })
}
