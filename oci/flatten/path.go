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
	// maxLinked is how many bytes they may have, all together: so that an entry cannot ask for much more
	// work than it has bytes.
	maxLinked = 16 << 10
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
// is made if it is missing, and it is an error if it cannot be; otherwise the result is nil then.
func (f *Flattener) directory(names []string, touch bool) (*node, error) {
	path := make([]*node, 1, len(names)+1) // from the root to where we are
	path[0] = f.root
	var missing []string // from there on
	links, linked := 0, 0
	for len(names) > 0 {
		name := names[0]
		names = names[1:]
		switch {
		case name == ".." && len(missing) > 0: // of a symlink, as are the next ones
			missing = missing[:len(missing)-1]
			continue
		case name == "..": // that of the root is the root
			path = path[:max(1, len(path)-1)]
			continue
		case len(missing) > 0:
			missing = append(missing, name)
			continue
		}
		next := path[len(path)-1].children[name]
		switch {
		case next == nil || next.whiteout:
			missing = append(missing, name)
		case next.inode.IsDir():
			path = append(path, next)
		case next.inode.IsSymlink():
			links++
			linked += len(next.inode.Target)
			if links > maxLinks || linked > maxLinked {
				return nil, fmt.Errorf("%w: too many symlinks on the way, the last one is %q", layer.ErrEntry, name)
			}
			if next.inode.Target[0] == '/' {
				path = path[:1]
			}
			names = append(components(next.inode.Target), names...)
		case !touch:
			return nil, nil //nolint:nilnil // as documented
		default:
			return nil, fmt.Errorf("%w: %q on the way is no directory", layer.ErrEntry, name)
		}
	}
	switch {
	case len(path)+len(missing) > maxDepth:
		return nil, fmt.Errorf("%w: more than %d directories in each other", layer.ErrLimit, maxDepth)
	case touch:
		return f.touch(path, missing)
	case len(missing) > 0:
		return nil, nil //nolint:nilnil // as documented
	}
	return path[len(path)-1], nil
}

// components returns those of the target of a symlink.
func components(target string) []string {
	return slices.DeleteFunc(strings.Split(target, "/"), func(s string) bool { return s == "" || s == "." })
}

// touch makes directories this layer's: those of a path from the root on, and what is missing below it, which
// it makes.
func (f *Flattener) touch(path []*node, missing []string) (*node, error) {
	for _, n := range path {
		n.touched = f.layer
	}
	dir := path[len(path)-1]
	for _, name := range missing {
		if err := tree.CheckName(name); err != nil { // of a symlink
			return nil, fmt.Errorf("%w: %w", layer.ErrEntry, err)
		}
		n := newImplied(f.layer)
		if err := f.put(dir, name, n); err != nil {
			return nil, err
		}
		dir = n
	}
	return dir, nil
}
