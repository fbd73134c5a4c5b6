package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-composefs/composefs/dumpfile"
	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/tree"
)

// list prints one line for each file of the images but the roots:
//
//	/dir/ TAB
//	/link TAB -> target
//	/file TAB @ path/in/the/store
//	/anything-else, and all but the first name of a hard-linked file
func (i *infoCommand) list() error {
	for _, file := range i.files {
		root, err := i.load(file, erofs.TreeOptions{})
		if err != nil {
			return err
		}
		tree.SettleLinks(root)
		var line []byte
		for path, e := range tree.Walk(root) {
			if e.Name == "" {
				continue
			}
			line = appendListed(line[:0], path, e)
			if _, err := i.w.Write(line); err != nil {
				return err
			}
		}
	}
	return nil
}

func appendListed(b, path []byte, e *tree.Entry) []byte {
	b = appendEscaped(b, path, ' ')
	switch n := e.Inode; {
	case e.Link:
	case n.IsDir():
		b = append(b, "/\t"...)
	case n.IsSymlink():
		b = append(b, "\t-> "...)
		b = appendEscaped(b, n.Target, 0)
	case n.IsExternal():
		if backing := n.BackingPath(); backing != "" {
			b = append(b, "\t@ "...)
			b = appendEscaped(b, backing, 0)
		}
	}
	return append(b, '\n')
}

// appendEscaped appends s as in a dump, but for one byte that is left as it is.
func appendEscaped[T string | []byte](b []byte, s T, plain byte) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\\':
			b = append(b, `\\`...)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c > ' ' && c < 0x7f || c == plain && plain != 0:
			b = append(b, c)
		default:
			b = fmt.Appendf(b, `\x%02x`, c)
		}
	}
	return b
}

// dump prints the images as dumps.
func (i *infoCommand) dump() error {
	for _, file := range i.files {
		opts := erofs.TreeOptions{XattrOrder: map[*tree.Inode][]tree.Xattr{}}
		root, err := i.load(file, opts)
		if err != nil {
			return err
		}
		tree.SettleLinks(root) // as composefs-info does; composefs dump keeps the own places
		if err := dumpfile.Write(i.w, root, dumpfile.WriteOptions{XattrOrder: opts.XattrOrder}); err != nil {
			return err
		}
	}
	return nil
}

// objects prints the store paths of all files of the images, each once, in order of bytes.
func (i *infoCommand) objects() error {
	return i.printPaths(func(string) bool { return true })
}

// missingObjects prints those of the paths where the object directory has nothing. Without an
// object directory that is all.
func (i *infoCommand) missingObjects() error {
	return i.printPaths(func(path string) bool {
		if i.basedir == "" {
			return true
		}
		_, err := os.Stat(filepath.Join(i.basedir, strings.TrimLeft(path, "/")))
		return err != nil
	})
}

func (i *infoCommand) printPaths(wanted func(path string) bool) error {
	paths, err := i.backingPaths()
	if err != nil {
		return err
	}
	for _, path := range paths {
		if !wanted(path) {
			continue
		}
		if _, err := i.w.WriteString(path + "\n"); err != nil {
			return err
		}
	}
	return nil
}

func (i *infoCommand) backingPaths() ([]string, error) {
	var paths []string
	for _, file := range i.files {
		root, err := i.load(file, erofs.TreeOptions{})
		if err != nil {
			return nil, err
		}
		for _, e := range tree.Walk(root) {
			if e.Inode.IsExternal() && !e.Link {
				if path := e.Inode.BackingPath(); path != "" {
					paths = append(paths, path)
				}
			}
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths), nil
}
