package flatten

import (
	"archive/tar"
	"fmt"
	"strings"

	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/tree"
)

const (
	// whiteoutPrefix is what names of whiteouts begin with.
	whiteoutPrefix = ".wh."
	// opaqueName is that of an opaque whiteout.
	opaqueName = ".wh..wh..opq"
	// aufsPrefix is what names begin with that aufs has for itself, and that old layers have.
	aufsPrefix = ".wh..wh."
)

// add puts one entry into the tree.
func (f *Flattener) add(e *layer.Entry) error {
	h := e.Header
	switch h.Typeflag {
	case tar.TypeXGlobalHeader, typeVolume:
		return nil // a comment, as git writes one, and the name of the archive
	}
	var target *tree.Inode
	if h.Typeflag == tar.TypeLink {
		var err error
		if target, err = f.target(h.Linkname); err != nil {
			return err
		}
	}
	names, err := f.split(h.Name)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return f.addRoot(e)
	}
	name := names[len(names)-1]
	for i, part := range names {
		switch {
		case !strings.HasPrefix(part, whiteoutPrefix):
		case strings.HasPrefix(part, aufsPrefix) && part != opaqueName:
			return nil
		case i < len(names)-1:
			return fmt.Errorf("%w: a file in the whiteout %q", layer.ErrEntry, part)
		}
	}
	if hidden, ok := strings.CutPrefix(name, whiteoutPrefix); ok {
		return f.whiteout(names[:len(names)-1], hidden)
	}
	dir, err := f.parentOf(h.Name, names)
	if err != nil {
		return err
	}
	n := target
	if n == nil {
		if n, err = e.Inode(); err != nil {
			return err
		}
		if err := f.charge(n); err != nil {
			return err
		}
	}
	return f.put(dir, name, &node{inode: n, layer: f.layer, touched: f.layer})
}

// typeVolume is GNU tar's, for the label of an archive.
const typeVolume = 'V'

// addRoot takes the metadata of the root.
func (f *Flattener) addRoot(e *layer.Entry) error {
	if e.Header.Typeflag == tar.TypeLink {
		return fmt.Errorf("%w: the root is a hard link", layer.ErrEntry)
	}
	n, err := e.Inode()
	if err != nil {
		return err
	}
	if !n.IsDir() {
		return fmt.Errorf("%w: the root is no directory", layer.ErrEntry)
	}
	f.root.inode = n
	return f.charge(n)
}

// target returns what a hard link leads to.
func (f *Flattener) target(name string) (*tree.Inode, error) {
	names, err := f.split(name)
	if err != nil {
		return nil, fmt.Errorf("hard link: %w", err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: a hard link to the root", layer.ErrEntry)
	}
	dir, err := f.directory(names[:len(names)-1], false)
	if err != nil {
		return nil, fmt.Errorf("hard link to %q: %w", name, err)
	}
	if dir != nil {
		dir = dir.children[names[len(names)-1]]
	}
	switch {
	case dir == nil || dir.whiteout:
		return nil, fmt.Errorf("%w: a hard link to %q, which is not there", layer.ErrEntry, name)
	case dir.inode.IsDir():
		return nil, fmt.Errorf("%w: a hard link to the directory %q", layer.ErrEntry, name)
	}
	return dir.inode, nil
}

// whiteout removes what lower layers have of a name, or of all names, in a directory. It brings nothing of
// its own, not even the directory, unless it has to stand in the tree of a single layer.
func (f *Flattener) whiteout(parents []string, name string) error {
	opaque := whiteoutPrefix+name == opaqueName
	if possible := tree.CheckName(name) == nil; !opaque && !possible {
		return nil // it is nobody's name
	}
	dir, err := f.directory(parents, f.single)
	if err != nil || dir == nil {
		return err
	}
	f.parent = nil
	if opaque {
		dir.clear(f.layer)
		dir.opaque = f.single
		return nil
	}
	old := dir.children[name]
	switch {
	case old != nil:
		old.opaque = f.single && old.inode.IsDir()
		dir.hide(name, old, f.layer)
	case f.single:
		device := &tree.Inode{Mode: tree.TypeChar}
		return f.put(dir, name, &node{inode: device, layer: f.layer, touched: f.layer, whiteout: true})
	}
	return nil
}

// put puts a node into a directory, in place of what has the name. A directory stays, with the metadata of
// the new one.
func (f *Flattener) put(dir *node, name string, n *node) error {
	if f.entries--; f.entries < 0 {
		return fmt.Errorf("%w: too many entries", layer.ErrLimit)
	}
	old := dir.children[name]
	if old == nil {
		dir.put(strings.Clone(name), n) // of a longer string
		return f.spend(len(name))
	}
	if old.inode.IsDir() && n.inode.IsDir() {
		old.inode, old.layer, old.touched = n.inode, n.layer, n.touched
		return nil
	}
	f.parent = nil
	n.opaque = n.opaque || old.whiteout && n.inode.IsDir()
	dir.children[name] = n
	return nil
}

// charge counts what a new inode takes, and keeps short attributes once.
func (f *Flattener) charge(n *tree.Inode) error {
	if !n.IsDir() {
		n.Nlink = 0 // finish counts
	}
	size := len(n.Target) + len(n.Content)
	for i := range n.Xattrs {
		x := &n.Xattrs[i]
		size += len(x.Name) + len(x.Value)
		x.Name, x.Value = f.once(x.Name), f.once(x.Value)
	}
	return f.spend(size)
}

func (f *Flattener) spend(bytes int) error {
	if f.bytes -= int64(bytes); f.bytes < 0 {
		return fmt.Errorf("%w: too many bytes of names, links and attributes", layer.ErrLimit)
	}
	return nil
}

// once returns one and the same of equal short strings.
func (f *Flattener) once(s string) string {
	const short = 256
	if len(s) > short {
		return s
	}
	if known, ok := f.shared[s]; ok {
		return known
	}
	f.shared[s] = s
	return s
}
