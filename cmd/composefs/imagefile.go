package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/tree"
)

// imageFile is an image that is open.
type imageFile struct {
	*erofs.Image
	name string
	file *os.File
}

// openImageFile opens an image file. The caller closes it.
func openImageFile(name string) (*imageFile, error) {
	f, err := openNow(name)
	if err != nil {
		return nil, err
	}
	img, err := readImage(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &imageFile{img, name, f}, nil
}

func readImage(f *os.File) (*erofs.Image, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// An image can be on a block device as well.
	if mode := info.Mode(); !mode.IsRegular() && mode&fs.ModeType != fs.ModeDevice {
		return nil, fmt.Errorf("open image %s: not a regular file", f.Name())
	}
	return erofs.OpenFile(f)
}

func (i *imageFile) Close() error { return i.file.Close() }

// tree loads the image for a comparison with what it was made of, or for making that again.
func (i *imageFile) tree(ctx context.Context) (*tree.Inode, error) {
	root, err := orInterrupted(ctx, func() (*tree.Inode, error) { return i.Tree(erofs.TreeOptions{}) })
	if err != nil {
		return nil, i.failed(err)
	}
	if i.Format() == erofs.FormatV1 {
		dropWhiteoutMarks(root)
	}
	return root, nil
}

// dropWhiteoutMarks removes from directories that hold whiteouts the marks that images of
// format V1 give them. Dumps show the marks, as those of composefs-info do: a tree could have
// had them. They mean nothing beside whiteouts that are devices.
func dropWhiteoutMarks(root *tree.Inode) {
	isWhiteout := func(e tree.Entry) bool { return e.Inode.IsWhiteout() }
	for _, e := range tree.Walk(root) {
		if !slices.ContainsFunc(e.Inode.Children, isWhiteout) {
			continue
		}
		for _, name := range []string{"trusted.overlay.opaque", "user.overlay.opaque"} {
			if value, ok := e.Inode.Xattr(name); ok && value == "x" {
				e.Inode.RemoveXattr(name)
			}
		}
	}
}

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
