package layer

import (
	"archive/tar"
	"fmt"
	"maps"
	"math"
	"slices"
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
	n, err := b.inode(h)
	if err != nil {
		return nil, err
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
		dir.Children[at] = tree.Entry{Name: name, Inode: n}
		return nil
	}
	if err := dir.Add(tree.Entry{Name: name, Inode: n}); err != nil {
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

// inode makes the inode of a header, without content.
func (b *builder) inode(h *tar.Header) (*tree.Inode, error) {
	n := &tree.Inode{Nlink: 1, Mode: uint32(h.Mode) & 0o7777}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		n.Mode |= tree.TypeRegular
		n.Size = uint64(h.Size)
	case tar.TypeDir:
		n.Mode |= tree.TypeDir
	case tar.TypeSymlink:
		n.Mode |= tree.TypeSymlink
		n.Target = h.Linkname
		if len(n.Target) == 0 || len(n.Target) > tree.MaxTarget || strings.ContainsRune(n.Target, 0) {
			return nil, fmt.Errorf("%w: a symlink to %d bytes, possible are 1 to %d", ErrEntry, len(n.Target), tree.MaxTarget)
		}
		n.Size = uint64(len(n.Target))
	case tar.TypeChar, tar.TypeBlock:
		n.Mode |= tree.TypeChar
		if h.Typeflag == tar.TypeBlock {
			n.Mode = n.Mode&^tree.TypeMask | tree.TypeBlock
		}
		const maxMajor, maxMinor = 1<<12 - 1, 1<<20 - 1
		if h.Devmajor < 0 || h.Devmajor > maxMajor || h.Devminor < 0 || h.Devminor > maxMinor {
			return nil, fmt.Errorf("%w: device %d:%d", ErrEntry, h.Devmajor, h.Devminor)
		}
		major, minor := uint32(h.Devmajor), uint32(h.Devminor)
		n.Rdev = minor&0xff | major<<8 | minor&^0xff<<12
	case tar.TypeFifo:
		n.Mode |= tree.TypeFIFO
	default:
		return nil, fmt.Errorf("%w: type %q", ErrEntry, h.Typeflag)
	}
	if h.Uid < 0 || int64(h.Uid) > math.MaxUint32 || h.Gid < 0 || int64(h.Gid) > math.MaxUint32 {
		return nil, fmt.Errorf("%w: owner %d:%d", ErrEntry, h.Uid, h.Gid)
	}
	n.UID, n.GID = uint32(h.Uid), uint32(h.Gid)
	n.Mtime = tree.Timespec{Sec: h.ModTime.Unix(), Nsec: uint32(h.ModTime.Nanosecond())}
	return n, b.xattrs(n, h)
}

// paxXattr is what keys of pax records begin with that are attributes: GNU tar, bsdtar, star, docker.
const paxXattr = "SCHILY.xattr."

// Keys of pax records that tell what an inode has and a tree does not understand: ACLs in words, and
// a SELinux context that GNU tar records with --selinux and not with --xattrs.
var paxIgnored = []string{"SCHILY.acl.access", "SCHILY.acl.default", "SCHILY.acl.ace", "RHT.security.selinux"}

func (b *builder) xattrs(n *tree.Inode, h *tar.Header) error {
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if slices.Contains(paxIgnored, key) {
			b.ignored[key]++
		}
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok {
			continue
		}
		if name == "" || len(name) > tree.MaxXattrName || strings.ContainsRune(name, 0) {
			return fmt.Errorf("%w: an attribute with a name of %d bytes", ErrEntry, len(name))
		}
		n.SetXattr(name, h.PAXRecords[key])
	}
	if n.XattrCost() > tree.MaxXattrCost {
		return fmt.Errorf("%w: %d bytes of attributes, at most %d are possible", ErrEntry, n.XattrCost(), tree.MaxXattrCost)
	}
	return nil
}
