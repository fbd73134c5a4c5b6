package oci

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"

	"github.com/go-composefs/composefs/oci/tardiff"
	"github.com/go-composefs/composefs/tree"
)

// treeFiles are the regular files of a tree, for deltas. No symlink is followed.
type treeFiles struct {
	root    *tree.Inode
	objects streams
}

// Open makes treeFiles a [tardiff.Source].
func (f treeFiles) Open(path string) (tardiff.File, error) {
	n := f.root
	for name := range strings.SplitSeq(path, "/") {
		if n = n.Lookup(name); n == nil {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
	}
	if !n.IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrInvalid}
	}
	if !n.IsExternal() {
		return inlineFile{bytes.NewReader(n.Content)}, nil
	}
	o, err := f.objects.OpenObject(n.Digest)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return objectFile{o, o, int64(n.Size)}, nil
}

// Files makes treeFiles [tardiff.OldFiles].
func (f treeFiles) Files() iter.Seq2[tardiff.OldFile, error] {
	return func(yield func(tardiff.OldFile, error) bool) {
		for path, e := range tree.Walk(f.root) {
			if !e.Inode.IsRegular() {
				continue
			}
			if !yield(tardiff.OldFile{Path: strings.TrimPrefix(string(path), "/"), Size: int64(e.Inode.Size)}, nil) {
				return
			}
		}
	}
}

// inlineFile is the content of a file that the image has.
type inlineFile struct{ *bytes.Reader }

func (inlineFile) Close() error { return nil }

// objectFile is an object.
type objectFile struct {
	io.ReaderAt
	io.Closer
	size int64
}

func (f objectFile) Size() int64 { return f.size }
