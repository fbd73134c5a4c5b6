package dumpfile

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-composefs/composefs/tree"
)

// builder makes a tree from the lines of a dump.
type builder struct {
	opts  ReadOptions
	arena arena
	line  int // number of the line being read

	root *tree.Inode
	// dirPath is the path of the directory that the last line was placed in, and dirs are
	// the directories on the way there: neighbouring lines share most of the way.
	dirPath []byte
	dirs    []openDir
	// unsorted has an index of each directory whose names do not come in order.
	unsorted map[*tree.Inode]map[string]*tree.Inode

	links []hardLink
	stubs arena // of links, apart because they go when the links are resolved

	fields [fieldCount][]byte // of the line
	// scratch
	path, canonical, payload, content, name, objectPath []byte
	// xattrs are the attributes of the last line, and xattrText what it said.
	xattrs    []tree.Xattr
	xattrText []byte
}

type openDir struct {
	end int // length of its path in dirPath
	dir *tree.Inode
}

// place puts the entry of a line into the tree, but for its name, which is the path's last
// component, and returns the directory that it came into.
func (b *builder) place(path []byte, mode uint32, e tree.Entry) (*tree.Inode, error) {
	if len(path) == 1 && path[0] == '/' {
		switch {
		case mode&tree.TypeMask != tree.TypeDir:
			return nil, b.errorf("path", "Root must be a directory")
		case b.root != nil:
			return nil, b.errorf("path", "Can't have multiple roots")
		}
		b.root = e.Inode
		b.dirs = append(b.dirs, openDir{0, b.root})
		return nil, nil
	}
	if b.root == nil {
		return nil, b.errorf("path", "Root node not present")
	}
	clean := b.clean(path)
	slash := bytes.LastIndexByte(clean, '/')
	dir := b.open(clean[:slash])
	switch {
	case dir == nil:
		return nil, b.errorf("path", "Parent directory missing for %s", quote(path))
	case !dir.IsDir():
		return nil, b.errorf("path", "Parent must be a directory for %s", quote(path))
	}
	name := clean[slash+1:]
	switch {
	case string(name) == "." || string(name) == "..":
		return nil, b.errorf("path", "Invalid . or .. in path: %s", quote(path))
	case len(name) == 0:
		return nil, b.errorf("path", "Can't add child: the name is empty")
	case len(name) > tree.MaxName:
		return nil, b.errorf("path", "Can't add child: name of %d bytes, at most %d are possible", len(name), tree.MaxName)
	}
	e.Name = b.arena.string(name)
	if !b.addChild(dir, e) {
		return nil, b.errorf("path", "Can't add child: %s exists already", quote(path))
	}
	return dir, nil
}

// clean returns a path with one leading slash and without repeated ones. A slash at the end
// stays: the name after it is empty.
func (b *builder) clean(path []byte) []byte {
	if path[0] == '/' && !bytes.Contains(path, []byte("//")) {
		return path
	}
	clean := append(b.canonical[:0], '/')
	for _, c := range path {
		if c != '/' || clean[len(clean)-1] != '/' {
			clean = append(clean, c)
		}
	}
	b.canonical = clean
	return clean
}

// open returns the directory of a canonical path without a slash at its end; empty is the
// root. If there is none it returns nil, or the file in its place.
func (b *builder) open(path []byte) *tree.Inode {
	top := b.goBack(path)
	for top.end < len(path) {
		name := path[top.end+1:]
		if i := bytes.IndexByte(name, '/'); i >= 0 {
			name = name[:i]
		}
		dir := b.lookup(top.dir, name)
		end := top.end + 1 + len(name)
		switch {
		case dir == nil, !dir.IsDir() && end < len(path):
			return nil
		case !dir.IsDir():
			return dir
		}
		b.dirPath = append(b.dirPath, path[top.end:end]...)
		top = openDir{end, dir}
		b.dirs = append(b.dirs, top)
	}
	return top.dir
}

// goBack closes directories up to the deepest one on the way to path, and returns that.
func (b *builder) goBack(path []byte) openDir {
	common := len(b.dirPath)
	if !bytes.HasPrefix(path, b.dirPath) {
		common = 0
		for common < len(path) && common < len(b.dirPath) && path[common] == b.dirPath[common] {
			common++
		}
	}
	top := b.dirs[len(b.dirs)-1]
	for top.end > common || top.end < len(path) && path[top.end] != '/' {
		b.dirs = b.dirs[:len(b.dirs)-1]
		top = b.dirs[len(b.dirs)-1]
	}
	b.dirPath = b.dirPath[:top.end]
	return top
}

func (b *builder) lookup(dir *tree.Inode, name []byte) *tree.Inode {
	if index, ok := b.unsorted[dir]; ok {
		return index[string(name)]
	}
	return dir.Lookup(string(name))
}

// addChild appends an entry to a directory, unless the name is taken. Order is restored at
// the end, for inserting would cost the square of the directory's size.
func (b *builder) addChild(dir *tree.Inode, e tree.Entry) bool {
	index := b.unsorted[dir]
	if last := len(dir.Children) - 1; index == nil && last >= 0 && e.Name <= dir.Children[last].Name {
		index = make(map[string]*tree.Inode, 2*len(dir.Children))
		for _, c := range dir.Children {
			index[c.Name] = c.Inode
		}
		b.unsorted[dir] = index
	}
	if index != nil {
		if _, exists := index[e.Name]; exists {
			return false
		}
		index[e.Name] = e.Inode
	}
	dir.Children = append(dir.Children, e)
	return true
}

// finish orders all directories and resolves the hard links.
func (b *builder) finish() (*tree.Inode, error) {
	if b.root == nil {
		return nil, b.errorAt(0, "", "No files in dump file")
	}
	for dir := range b.unsorted {
		slices.SortFunc(dir.Children, func(x, y tree.Entry) int { return strings.Compare(x.Name, y.Name) })
	}
	if err := b.resolveLinks(); err != nil {
		return nil, err
	}
	return b.root, nil
}
