package erofs

import (
	"slices"
	"strings"

	"github.com/go-composefs/composefs/tree"
)

// TreeOptions say what [Image.Tree] loads. The zero value loads all.
type TreeOptions struct {
	// Only names entries of the root: what others hold is left out. Names that are not
	// there do not matter.
	Only []string
	// XattrOrder, if not nil, is filled with the attributes, in the order they have in the
	// image, of each inode where that is not the order of the names. Dumps print that
	// order.
	XattrOrder map[*tree.Inode][]tree.Xattr
	// MetadataOnly allows regular files of more than [tree.MaxInline] bytes in images that
	// are not of composefs. They get their Size and no Content.
	MetadataOnly bool
}

// Tree loads the image. In that of a composefs image what the writer did for overlayfs is
// undone: writing the tree again, in the same format, gives the same bytes for every image
// that [Write] or mkcomposefs wrote. Size of a directory is what its entries take in the
// image.
//
// In an image of others attributes stay as they are, and content of up to [tree.MaxInline]
// bytes is loaded. A larger file is [ErrUnsupported] unless MetadataOnly allows it.
//
// Memory is bounded by a multiple of the image's size, whatever the image says.
func (img *Image) Tree(opts TreeOptions) (*tree.Inode, error) {
	l := &loader{img: img, opts: opts, budget: loadFactor*img.win.size + 1<<20}
	l.inodes.chunk, l.entries.chunk, l.xattrs.chunk, l.content.chunk = 512, 1024, 1024, 16<<10
	l.shared = map[uint32]tree.Xattr{}
	root, err := img.Root()
	if err != nil {
		return nil, err
	}
	l.in = *root
	node, err := l.inode()
	if err != nil {
		return nil, about(err, root.Nid, "/")
	}
	for at := 0; at < len(l.dirs); at++ { //nolint:intrange // children appends to l.dirs
		if err := l.children(at); err != nil {
			return nil, about(err, l.dirs[at].nid, l.path(at))
		}
	}
	l.settleLinks(node)
	l.settleWhiteouts()
	if len(opts.Only) > 0 && img.escapes() {
		// The whiteouts may be among what was left out: then nobody can tell whether the
		// marks are the writer's.
		l.dropMarks(node)
	}
	return node, nil
}

// loadFactor is how many times the size of an image its tree may take. What an image holds
// once can be referred to many times, so that without a limit a small one could fill any
// memory. Honest images need about 10, more if many files share a chunk.
const loadFactor = 64

// Bytes that a tree takes for each thing, roughly.
const (
	inodeCost = 256
	entryCost = 32
	xattrCost = 32
)

// loader builds a tree, breadth first, which is the order of inodes in most images.
type loader struct {
	img    *Image
	opts   TreeOptions
	budget uint64 // bytes that may still be allocated

	in    Inode // the inode being read
	dirs  []loadedDir
	byNid nidTable
	// linked says that some inode has several entries.
	linked bool
	// dropped are the entries that are not in the tree, in the order of the walk.
	dropped []droppedEntry
	// marked are the directories that look as if the writer had found whiteouts in them,
	// maskedWhiteouts the files that look like those.
	marked          []*tree.Inode
	maskedWhiteouts map[*tree.Inode]struct{}

	shared  map[uint32]tree.Xattr                 // shared attributes by id
	names   [len(xattrPrefixes)]map[string]string // full attribute names by index and rest
	attrs   []tree.Xattr                          // those of the inode being read
	scratch []byte

	inodes  slab[tree.Inode]
	entries slab[tree.Entry]
	xattrs  slab[tree.Xattr]
	content slab[byte]
}

// loadedDir is a directory whose inode is loaded. Its name and parent are kept for errors.
type loadedDir struct {
	node   *tree.Inode
	nid    uint64
	parent int
	name   string
}

// slab allocates many small slices at once.
type slab[T any] struct {
	free  []T
	chunk int // elements
}

func (s *slab[T]) take(n int) []T {
	if n > len(s.free) {
		if n > s.chunk/4 {
			return make([]T, n)
		}
		s.free = make([]T, s.chunk)
	}
	part := s.free[:n:n]
	s.free = s.free[n:]
	return part
}

// charge takes n bytes from the budget.
func (l *loader) charge(n uint64) error {
	if n > l.budget {
		return corruptf(NoNid, noOffset, "its files refer to more than %d times the bytes of the image", loadFactor)
	}
	l.budget -= n
	return nil
}

func (l *loader) path(at int) string {
	var names []string
	for at != 0 {
		names = append(names, l.dirs[at].name)
		at = l.dirs[at].parent
	}
	slices.Reverse(names)
	return "/" + strings.Join(names, "/")
}

// children loads the entries of a directory and the inodes that are met in it first.
func (l *loader) children(at int) error {
	var dir Inode
	if err := l.img.readInode(l.dirs[at].nid, &dir); err != nil {
		return err
	}
	blocks := dir.dirBlocks()
	count := 0
	for i := range blocks {
		d, err := dir.dirBlock(i)
		if err != nil {
			return err
		}
		count += d.n
		if err := l.charge(uint64(d.n)*entryCost + uint64(len(d.b))); err != nil {
			return err
		}
	}
	entries := l.entries.take(count)[:0]
	last := ""
	for i := range blocks {
		d, err := dir.dirBlock(i)
		if err != nil {
			return err
		}
		base := d.n * direntSize
		if base > d.end {
			return dir.badName(i, 0, base, d.end)
		}
		names := string(d.b[base:d.end])
		if strings.IndexByte(names, '/') >= 0 || strings.IndexByte(names, 0) >= 0 {
			return dir.corruptData(i<<l.img.sb.DirBits, "a name has a slash or a NUL")
		}
		for k := range d.n {
			start, end, ok := d.name(k)
			if !ok {
				return dir.badName(i, k, start, end)
			}
			name := names[start-base : end-base]
			if name <= last {
				return dir.corruptData(i<<l.img.sb.DirBits+uint64(k)*direntSize, "entry %q comes after %q", name, last)
			}
			last = name
			if name == "." || name == ".." {
				continue
			}
			if at == 0 && len(l.opts.Only) > 0 && !slices.Contains(l.opts.Only, name) {
				continue
			}
			entry, keep, err := l.entry(at, d.nid(k), name)
			switch {
			case err != nil:
				return err
			case keep:
				entries = append(entries, entry)
			default:
				l.dropped = append(l.dropped, droppedEntry{d.nid(k), at, len(entries)})
			}
		}
	}
	l.dirs[at].node.Children = entries
	return nil
}

// entry makes an entry of directory number at, and loads its inode unless that is done. The
// whiteouts that the writer adds are not kept.
func (l *loader) entry(at int, nid uint64, name string) (e tree.Entry, keep bool, err error) {
	if node := l.byNid.get(nid); node != nil {
		if node.IsDir() {
			return e, false, corruptf(nid, noOffset, "the directory is also at %s", join(l.path(at), name))
		}
		l.linked = true
		return tree.Entry{Name: name, Inode: node, Link: true}, true, nil
	}
	if err := l.img.readInode(nid, &l.in); err != nil {
		return e, false, about(err, nid, join(l.path(at), name))
	}
	if l.img.escapes() && l.in.IsWhiteout() {
		return e, false, nil
	}
	known := len(l.dirs)
	node, err := l.inode()
	if err != nil {
		return e, false, about(err, nid, join(l.path(at), name))
	}
	if len(l.dirs) > known {
		l.dirs[known].parent, l.dirs[known].name = at, name
	}
	return tree.Entry{Name: name, Inode: node}, true, nil
}

func join(dir, name string) string {
	if dir == "/" {
		return "/" + name
	}
	return dir + "/" + name
}

// inode makes a tree inode of l.in and notes it; a directory still lacks its children.
func (l *loader) inode() (*tree.Inode, error) {
	if err := l.charge(inodeCost); err != nil {
		return nil, err
	}
	node := &l.inodes.take(1)[0]
	if err := l.metadata(node); err != nil {
		return nil, err
	}
	l.byNid.put(l.in.Nid, node)
	switch {
	case l.in.IsDir():
		l.dirs = append(l.dirs, loadedDir{node: node, nid: l.in.Nid})
	case l.in.IsRegular():
		return node, l.loadContent(node)
	}
	return node, nil
}

// metadata sets all of node but the children of a directory and inline content.
func (l *loader) metadata(node *tree.Inode) (err error) {
	in := &l.in
	*node = tree.Inode{
		Size: in.Size, Mtime: in.Mtime, Mode: in.Mode,
		UID: in.UID, GID: in.GID, Nlink: in.Nlink, Rdev: in.Rdev,
	}
	if err := l.loadXattrs(node); err != nil {
		return err
	}
	switch in.Type() {
	case tree.TypeDir, tree.TypeRegular:
	case tree.TypeSymlink:
		if err = l.charge(in.Size); err == nil {
			node.Target, err = in.Readlink()
		}
	default:
		node.Size = l.specialSize()
	}
	return err
}

func (l *loader) loadContent(node *tree.Inode) error {
	in := &l.in
	if in.Size == 0 || l.img.head.present && in.isExternal() {
		return nil
	}
	if in.Size > tree.MaxInline {
		switch {
		case l.img.head.present:
			return corruptf(in.Nid, in.pos, "a file of %d bytes is in the image, at most %d can be", in.Size, tree.MaxInline)
		case l.opts.MetadataOnly:
			return nil
		}
		return unsupportedf(in.Nid, "a tree with file content of %d bytes, at most %d can be", in.Size, tree.MaxInline)
	}
	if err := l.charge(in.Size); err != nil {
		return err
	}
	node.Content = l.content.take(int(in.Size))
	_, err := in.ReadAt(node.Content, 0)
	return err
}

// specialSize is the size that a device, FIFO or socket had when it was written. The image does
// not keep it, and yet it shows: beyond 4 GiB the writer gives the inode the 64-byte form that
// nothing else calls for (pinned by TestTreeIsFixedPoint).
func (l *loader) specialSize() uint64 {
	in := &l.in
	if l.img.escapes() && in.Extended() && in.Mtime == l.img.sb.BuildTime &&
		in.Nlink <= 0xffff && in.UID <= 0xffff && in.GID <= 0xffff {
		return 1 << 32
	}
	return 0
}
