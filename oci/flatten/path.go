package flatten

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/tree"
)

const (
	// maxLinks is how many symlinks may be followed on the way to one entry, as in the kernel.
	maxLinks = 40
	// maxLinked is how many components they may have, all together: so that the work that an entry can
	// ask for does not go beyond what a long name asks for.
	maxLinked = 2048
)

// split returns the components of a name, none for the root. They are valid until the next call.
func (f *Flattener) split(name string) ([]string, error) {
	names := f.names[:0]
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".":
			continue
		case "..":
			if len(names) == 0 {
				return nil, fmt.Errorf("%w: %q leads out of the tree", layer.ErrEntry, name)
			}
			names = names[:len(names)-1]
			continue
		}
		if err := tree.CheckName(part); err != nil {
			return nil, fmt.Errorf("%w: %w", layer.ErrEntry, err)
		}
		names = append(names, part)
	}
	f.names = names
	return names, nil
}

// parentOf returns the directory of an entry of a name whose components are given.
func (f *Flattener) parentOf(name string, names []string) (*node, error) {
	name = strings.TrimRight(name, "/")
	path := name[:strings.LastIndexByte(name, '/')+1]
	plain := name[len(path):] == names[len(names)-1] // and not "..", of which path would not be the parent
	if plain && f.parent != nil && path == f.parentPath {
		return f.parent, nil
	}
	dir, err := f.directory(names[:len(names)-1], true)
	if err != nil {
		return nil, err
	}
	if f.parent = nil; plain {
		f.parent, f.parentPath = dir, path
	}
	return dir, nil
}

// directory finds a directory, and follows symlinks. With touch it is one that this layer has, so that it
// is made if it is missing; otherwise the result is nil then.
func (f *Flattener) directory(names []string, touch bool) (*node, error) {
	path := make([]*node, 1, len(names)+1) // from the root to where we are
	path[0] = f.root
	links, linked := 0, 0
	for len(names) > 0 {
		name := names[0]
		names = names[1:]
		if name == ".." { // of a symlink; that of the root is the root
			path = path[:max(1, len(path)-1)]
			continue
		}
		dir := path[len(path)-1]
		next := dir.children[name]
		switch {
		case next != nil && next.inode.IsDir():
		case next != nil && next.inode.IsSymlink():
			target := next.inode.Target
			parts := strings.Split(target, "/")
			parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" || s == "." })
			links++
			linked += len(parts)
			if links > maxLinks || linked > maxLinked {
				return nil, fmt.Errorf("%w: too many symlinks on the way, the last one is %q", layer.ErrEntry, name)
			}
			if target[0] == '/' {
				path = path[:1]
			}
			names = append(parts, names...)
			continue
		case next != nil && !next.whiteout:
			return nil, fmt.Errorf("%w: %q on the way is no directory", layer.ErrEntry, name)
		case !touch:
			return nil, nil //nolint:nilnil // as documented
		default:
			var err error
			if next, err = f.imply(dir, name, next != nil); err != nil {
				return nil, err
			}
		}
		if path = append(path, next); len(path) > maxDepth {
			return nil, fmt.Errorf("%w: more than %d directories in each other", layer.ErrLimit, maxDepth)
		}
	}
	if touch {
		for _, n := range path {
			n.touched = f.layer
		}
	}
	return path[len(path)-1], nil
}

// imply makes a directory that no entry tells of, perhaps in place of a whiteout.
func (f *Flattener) imply(dir *node, name string, whiteout bool) (*node, error) {
	if err := tree.CheckName(name); err != nil { // of a symlink
		return nil, fmt.Errorf("%w: %w", layer.ErrEntry, err)
	}
	n := newImplied(f.layer)
	n.opaque = whiteout
	return n, f.put(dir, name, n)
}
