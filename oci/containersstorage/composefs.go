package containersstorage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/tree"
)

// composefsFiles opens the files of a layer that the overlay driver keeps as composefs does (use_composefs): their names
// are in an image, and in the diff directory they are named by their digests.
type composefsFiles struct {
	image *os.File
	view  *erofs.FS
	diff  fileOpener
}

// openComposefs opens the image of a layer, or fails with [fs.ErrNotExist] if it has none. It takes diff, unless it fails.
func openComposefs(s *store, layer string, diff fileOpener) (fileOpener, error) {
	f, err := s.open(s.composefsImage(layer))
	if err != nil {
		return nil, err
	}
	c := &composefsFiles{image: f, diff: diff}
	info, err := f.Stat()
	if err == nil {
		var image *erofs.Image
		if image, err = erofs.Open(f, info.Size()); err == nil {
			c.view = image.FS(erofs.FSOptions{})
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open composefs image: %w", err), f.Close())
	}
	return c, nil
}

func (c *composefsFiles) Close() error { return errors.Join(c.diff.Close(), c.image.Close()) }

func (c *composefsFiles) open(path string) (*os.File, error) {
	info, err := c.view.Lstat(path)
	if err != nil {
		return nil, err
	}
	node, ok := info.Sys().(*tree.Inode)
	if !ok || !node.IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errNoFile}
	}
	object := node.BackingPath()
	if object == "" {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("%w: its content is in the image", ErrUnsupported)}
	}
	return c.diff.open(object)
}

var errNoFile = errors.New("it is no regular file")
