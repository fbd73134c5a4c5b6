package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/go-composefs/composefs/erofs"
)

// imageFile is an image that is open.
type imageFile struct {
	*erofs.Image
	name string
	file *os.File
}

// openImage opens an image. The caller closes it.
func openImage(name string) (*imageFile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	img, err := erofs.OpenFile(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &imageFile{img, name, f}, nil
}

func (i *imageFile) Close() error { return i.file.Close() }

// failed adds the image's name to an error about what is in it.
func (i *imageFile) failed(err error) error {
	// The path inside is one for people: absolute, where io/fs has none.
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return fmt.Errorf("%s: %s: %w", i.name, pathInImage(pe.Path), pe.Err)
	}
	return fmt.Errorf("%s: %w", i.name, err)
}

// fsPath makes a name for io/fs of a path as people write it.
func fsPath(p string) string {
	if p = path.Clean("/" + p)[1:]; p != "" {
		return p
	}
	return "."
}

// pathInImage is the reverse of fsPath.
func pathInImage(name string) string {
	if name == "." {
		return "/"
	}
	return "/" + strings.TrimPrefix(name, "/")
}
