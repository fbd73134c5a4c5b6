package layer

import (
	"archive/tar"
	"fmt"
	"math"
	"strings"

	"github.com/go-composefs/composefs/tree"
)

// maxPath is how long a name in a tar may be: as long as a path that the kernel takes. Without a limit
// one entry could stand for half a million directories.
const maxPath = 4096

// builder makes a tree of entries.
type builder struct {
	root    *tree.Inode
	left    int // inodes and links that may still come
	ignored map[string]int
}

var errTooMany = fmt.Errorf("%w: too many entries", ErrLimit)

func newBuilder(maxEntries int) *builder {
	return &builder{root: impliedDirectory(), left: maxEntries, ignored: map[string]int{}}
}

func impliedDirectory() *tree.Inode { return &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 1} }

// finish returns the tree, whose links it counts; those of directories are 1, as a scan has them.
func (b *builder) finish() *tree.Inode {
	for _, e := range tree.Walk(b.root) {
		if !e.Inode.IsDir() {
			e.Inode.Nlink = 0
		}
	}
	for _, e := range tree.Walk(b.root) {
		if !e.Inode.IsDir() {
			e.Inode.Nlink++
		}
	}
	tree.SettleLinks(b.root)
	return b.root
}

// add puts an entry into the tree and returns its inode, to whose content nobody but a regular file
// is entitled; or nil if it is no file.
func (b *builder) add(h *tar.Header) (*tree.Inode, error) {
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil, nil //nolint:nilnil // a comment, as git writes one
	case typeVolume:
		return nil, nil //nolint:nilnil // the name of the archive
	case tar.TypeLink:
		return nil, b.link(h)
	}
	if isOldDirectory(h) {
		h.Typeflag = tar.TypeDir
	}
	n, err := inodeOf(h)
	if err != nil {
		return nil, err
	}
	if h.Uid < 0 || int64(h.Uid) > math.MaxUint32 || h.Gid < 0 || int64(h.Gid) > math.MaxUint32 {
		return nil, fmt.Errorf("%w: owner %d:%d", ErrEntry, h.Uid, h.Gid)
	}
	if n.XattrCost() > tree.MaxXattrCost {
		return nil, fmt.Errorf("%w: %d bytes of attributes, at most %d are possible", ErrEntry, n.XattrCost(), tree.MaxXattrCost)
	}
	for _, key := range paxIgnored {
		if _, ok := h.PAXRecords[key]; ok {
			b.ignored[key]++
		}
	}
	names, err := split(h.Name)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		if !n.IsDir() {
			return nil, fmt.Errorf("%w: the root is no directory", ErrEntry)
		}
		n.Children = b.root.Children
		b.root = n
		return n, nil
	}
	parent, err := b.parent(names)
	if err != nil {
		return nil, err
	}
	name := names[len(names)-1]
	if old := parent.Lookup(name); old != nil && old.IsDir() && n.IsDir() {
		n.Children = old.Children
	}
	return n, b.put(parent, name, n)
}

// typeVolume is GNU tar's, for the label of an archive.
const typeVolume = 'V'

// split returns the components of a name, none for the root.
func split(name string) ([]string, error) {
	if len(name) > maxPath {
		return nil, fmt.Errorf("%w: a name of %d bytes, at most %d are possible", ErrEntry, len(name), maxPath)
	}
	var names []string
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".":
			continue
		case "..":
			return nil, fmt.Errorf("%w: %q leads out of the tree", ErrEntry, name)
		}
		if err := tree.CheckName(part); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrEntry, err)
		}
		names = append(names, part)
	}
	return names, nil
}

// parent returns the directory that the last of names is to be in, and makes those that are missing.
func (b *builder) parent(names []string) (*tree.Inode, error) {
	dir := b.root
	for i, name := range names[:len(names)-1] {
		next := dir.Lookup(name)
		if next == nil {
			next = impliedDirectory()
			if err := b.put(dir, name, next); err != nil {
				return nil, err
			}
		}
		if !next.IsDir() {
			return nil, fmt.Errorf("%w: %q is no directory", ErrEntry, strings.Join(names[:i+1], "/"))
		}
		dir = next
	}
	return dir, nil
}

// put puts an inode into a directory, in place of what has the name.
func (b *builder) put(dir *tree.Inode, name string, n *tree.Inode) error {
	if b.left--; b.left < 0 {
		return errTooMany
	}
	if at, ok := dir.Find(name); ok {
		dir.Children[at].Inode = n
		return nil
	}
	if err := dir.Add(tree.Entry{Name: strings.Clone(name), Inode: n}); err != nil { // of a longer string
		return fmt.Errorf("%w: %w", ErrEntry, err)
	}
	return nil
}

// link gives a file one more name.
func (b *builder) link(h *tar.Header) error {
	target, err := split(h.Linkname)
	if err != nil {
		return err
	}
	n := b.root
	for _, name := range target {
		if n = n.Lookup(name); n == nil {
			return fmt.Errorf("%w: a hard link to %q, which is not there", ErrEntry, h.Linkname)
		}
	}
	if n.IsDir() {
		return fmt.Errorf("%w: a hard link to the directory %q", ErrEntry, h.Linkname)
	}
	names, err := split(h.Name)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("%w: the root is no directory", ErrEntry)
	}
	dir, err := b.parent(names)
	if err != nil {
		return err
	}
	return b.put(dir, names[len(names)-1], n)
}
