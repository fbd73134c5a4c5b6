package erofs

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/go-composefs/composefs/tree"
)

// maxLinks is how many symlinks are followed on the way to one file, as in Linux.
const maxLinks = 40

var errLinks = errors.New("too many levels of symbolic links")

// place is an inode and what its directory says about it.
type place struct {
	in   Inode
	name string
	// marked says that the directory has the marks of one with whiteouts.
	marked bool
}

// Node returns the inode as the tree has it, without children and content: in composefs images
// what the writer did for overlayfs is undone as far as it shows in the inode alone.
func (in *Inode) Node() (*tree.Inode, error) { return (&place{in: *in}).node() }

func (p *place) node() (*tree.Inode, error) {
	l := &loader{img: p.in.img, in: p.in, budget: ^uint64(0), shared: map[uint32]tree.Xattr{}}
	node := &tree.Inode{}
	if err := l.metadata(node); err != nil {
		return nil, err
	}
	if _, masked := l.maskedWhiteouts[node]; masked && p.marked {
		l.unmask(node)
	}
	if len(l.marked) > 0 {
		l.dropMarks(node) // nobody but the writer sets all of them
	}
	return node, nil
}

// marks says whether a directory has the marks of one with whiteouts.
func (in *Inode) marks() (bool, error) {
	if in.xattrSize == 0 || !in.img.escapes() {
		return false, nil
	}
	l := &loader{img: in.img, in: *in, budget: ^uint64(0), shared: map[uint32]tree.Xattr{}}
	err := l.metadata(&tree.Inode{})
	return len(l.marked) > 0, err
}

// lookup finds a name in a directory, unless it is hidden.
func (f *FS) lookup(dir *Inode, name string) (*place, error) {
	e, err := dir.Lookup(name)
	if errors.Is(err, tree.ErrNotFound) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	p := &place{name: name}
	if err := f.img.readInode(e.Nid, &p.in); err != nil {
		return nil, err
	}
	if f.img.escapes() && p.in.IsWhiteout() {
		return nil, fs.ErrNotExist
	}
	p.marked, err = dir.marks()
	return p, err
}

// walk finds a path.
func (f *FS) walk(path string, follow bool) (*place, error) {
	if !validPath(path) {
		return nil, fs.ErrInvalid
	}
	root, err := f.img.Root()
	if err != nil {
		return nil, err
	}
	above := []Inode{} // the directories that ".." leads to
	here := &place{in: *root, name: "."}
	links := 0
	for path != "" {
		name, rest, more := strings.Cut(path, "/")
		path = rest
		if name == "" || name == "." {
			continue
		}
		if !here.in.IsDir() {
			return nil, tree.ErrNotDir
		}
		if name == ".." {
			if last := len(above) - 1; last >= 0 {
				here, above = &place{in: above[last]}, above[:last]
			}
			continue
		}
		next, err := f.lookup(&here.in, name)
		if err != nil {
			return nil, err
		}
		if next.in.Type() != tree.TypeSymlink || !more && !follow {
			above, here = append(above, here.in), next
			continue
		}
		if links++; links > maxLinks {
			return nil, errLinks
		}
		target, err := next.in.Readlink()
		if err != nil {
			return nil, err
		}
		if target[0] == '/' {
			here, above = &place{in: *root, name: "."}, above[:0]
		}
		if path = target; more {
			path += "/" + rest
		}
	}
	return here, nil
}

// validPath is [fs.ValidPath] but for its demand of UTF-8: names of files are bytes, and those
// that list them want to open them.
func validPath(path string) bool {
	if path == "." {
		return true
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." {
			return false
		}
	}
	return true
}
