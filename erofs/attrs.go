package erofs

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// namedAttr is an attribute on its way into an inode's list.
type namedAttr struct {
	name string
	ref  attrRef
}

// collectXattrs gives every inode its list of attributes as the image has them: the tree's
// own, those of overlayfs among them escaped, and those that tell overlayfs what to do.
func (p *plan) collectXattrs() error {
	p.attrs = newAttrTable(p.format, p.externals)
	p.attrs.refs = make([]attrRef, 0, p.xattrs+2*p.externals+len(p.root.Xattrs)+256)
	var list []namedAttr
	for at := range p.inodes {
		in := &p.inodes[at]
		in.refs = uint32(len(p.attrs.refs))
		for _, x := range in.node.Xattrs {
			// Escaping makes a name longer, but only one whose prefix is left out.
			if len(x.Name) == 0 || len(x.Name) > tree.MaxXattrName || strings.IndexByte(x.Name, 0) >= 0 {
				return fmt.Errorf("%s: %w: extended attribute with the name %q", p.path(uint32(at)), ErrLimit, x.Name)
			}
		}
		list = p.appendXattrs(list[:0], uint32(at))
		if int64(len(p.attrs.refs)+len(list)) > 1<<31 {
			return fmt.Errorf("%w: too many extended attributes", ErrLimit)
		}
		for i := range list {
			p.attrs.refs = append(p.attrs.refs, list[i].ref)
		}
	}
	p.attrs.share()
	for at := range p.inodes {
		if err := p.sizeXattrs(uint32(at)); err != nil {
			return err
		}
	}
	return nil
}

// appendXattrs appends the attributes of the inode at position at, in the order of its area:
// by full name in V0 and V1; those of the object first in V2.
func (p *plan) appendXattrs(list []namedAttr, at uint32) []namedAttr {
	in := &p.inodes[at]
	n := in.node
	if n.IsExternal() {
		list = p.appendObject(list, n)
	}
	for _, x := range n.Xattrs {
		if suffix, ok := strings.CutPrefix(x.Name, xattrOverlay); ok {
			x.Name = xattrOverlayEscaped + suffix
		}
		if in.overridden(x.Name, p.format) {
			continue
		}
		list = append(list, namedAttr{x.Name, p.attrs.plain(x)})
	}
	if p.format == FormatV2 {
		return list
	}
	for _, x := range in.whiteoutXattrs(p.format) {
		list = append(list, namedAttr{x.Name, p.attrs.plain(x)})
	}
	if at == 0 {
		list = append(list, namedAttr{xattrOpaque, p.attrs.plain(tree.Xattr{Name: xattrOpaque, Value: "y"})})
	}
	slices.SortFunc(list, func(a, b namedAttr) int { return strings.Compare(a.name, b.name) })
	return list
}

// appendObject appends the attributes of an external file. Without a digest, metacopy is
// empty, which tells overlayfs to trust the data.
func (p *plan) appendObject(list []namedAttr, n *tree.Inode) []namedAttr {
	metacopy := p.attrs.metacopyOf(n.Digest)
	list = append(list, namedAttr{xattrMetacopy, metacopy})
	switch {
	case n.Backing != "":
		list = append(list, namedAttr{xattrRedirect, p.attrs.redirectTo(n.Backing)})
	case !n.NoBacking && !n.Digest.IsZero():
		list = append(list, namedAttr{xattrRedirect, p.attrs.redirect(n.Digest)})
	}
	return list
}

func (t *attrTable) metacopyOf(d fsverity.Digest) attrRef {
	if d.IsZero() {
		return t.plain(tree.Xattr{Name: xattrMetacopy})
	}
	return t.metacopy(d)
}

// redirectTo counts one use of a redirect to any path; one that is a digest's own path must
// count for the object.
func (t *attrTable) redirectTo(backing string) attrRef {
	if len(backing) > 3 && backing[2] == '/' {
		d, err := fsverity.ParseDigest(backing[:2] + backing[3:])
		if err == nil && d.ObjectPath() == backing {
			return t.redirect(d)
		}
	}
	return t.plain(tree.Xattr{Name: xattrRedirect, Value: "/" + backing})
}

// Attributes that replace whiteouts, see whiteoutXattrs.
var (
	whiteoutMarks  = []tree.Xattr{{Name: xattrEscapedWhiteout}, {Name: xattrUserWhiteout}}
	whiteoutsMarks = []tree.Xattr{{Name: xattrEscapedWhiteouts}, {Name: xattrUserWhiteouts}}
	opaqueMarks    = []tree.Xattr{{Name: xattrEscapedOpaque, Value: "x"}, {Name: xattrUserOpaque, Value: "x"}}

	whiteoutsOpaqueMarks = slices.Concat(whiteoutsMarks, opaqueMarks)
)

// whiteoutXattrs returns what V0 and V1 add to a whiteout, which becomes an empty file, and to
// the directory of one. Only V1 adds the opaque marks (pinned by TestVectors/whiteouts).
func (in *plannedInode) whiteoutXattrs(format Format) []tree.Xattr {
	switch {
	case in.flags&flagWhiteout != 0:
		return whiteoutMarks
	case in.flags&flagHasWhiteouts != 0 && format == FormatV1:
		return whiteoutsOpaqueMarks
	case in.flags&flagHasWhiteouts != 0:
		return whiteoutsMarks
	}
	return nil
}

// overridden says whether the tree's own attribute gives way to one of whiteoutXattrs.
func (in *plannedInode) overridden(name string, format Format) bool {
	for _, x := range in.whiteoutXattrs(format) {
		if x.Name == name {
			return true
		}
	}
	return false
}

// maxShared is how many references an inode may have into the shared table; further shared
// attributes are stored with the inode as well (V0, V1: pinned by TestVectors/xattr-129-shared;
// V2: what the counter holds).
func maxShared(format Format) int {
	if format == FormatV2 {
		return 255
	}
	return 128
}

// sizeXattrs computes the size of an inode's xattr area.
func (p *plan) sizeXattrs(at uint32) error {
	refs := p.refs(at)
	if len(refs) == 0 {
		return nil
	}
	size, shared := uint64(xattrHeaderSize), 0
	for _, r := range refs {
		if *p.attrs.usersOf(r) != notShared && shared < maxShared(p.format) {
			shared++
			size += 4
		} else {
			size += p.attrs.entrySize(r)
		}
		if p.attrs.valueLen(r) > 65535 {
			return fmt.Errorf("%s: %w: attribute %s has %d bytes",
				p.path(at), ErrLimit, p.attrs.name(r), p.attrs.valueLen(r))
		}
	}
	// i_xattr_icount is 16 bits and counts the header's last 4 bytes.
	if (size-xattrHeaderSize)/4+1 > 65535 {
		return fmt.Errorf("%s: %w: %d bytes of extended attributes", p.path(at), ErrLimit, size)
	}
	p.inodes[at].xattrSize = uint32(size)
	return nil
}

// refs returns the attributes of the inode at position at.
func (p *plan) refs(at uint32) []attrRef {
	end := len(p.attrs.refs)
	if int(at)+1 < len(p.inodes) {
		end = int(p.inodes[at+1].refs)
	}
	return p.attrs.refs[p.inodes[at].refs:end]
}
