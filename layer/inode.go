package layer

import (
	"archive/tar"
	"fmt"
	"strings"

	"github.com/go-composefs/composefs/tree"
)

// Inode returns the inode of an entry that is a file, with its content or the digest of its object, and
// with one name. Attributes are those of pax records "SCHILY.xattr.NAME". Of owners the lower 32 bits
// count, as in composefs-rs. It fails with [ErrEntry] for what no inode can be, and for hard links, which
// are none.
func (e *Entry) Inode() (*tree.Inode, error) {
	n, err := inodeOf(e.Header)
	if err != nil {
		return nil, err
	}
	n.Content, n.Digest = e.Content, e.Digest
	return n, nil
}

// inodeOf makes the inode of a header, without content.
func inodeOf(h *tar.Header) (*tree.Inode, error) {
	n := &tree.Inode{Nlink: 1, Mode: uint32(h.Mode) & 0o7777}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		n.Mode |= tree.TypeRegular
		n.Size = uint64(h.Size)
	case tar.TypeDir:
		n.Mode |= tree.TypeDir
	case tar.TypeSymlink:
		n.Mode |= tree.TypeSymlink
		n.Target = strings.Clone(h.Linkname) // which may be a part of a large pax record
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
	n.UID, n.GID = uint32(h.Uid), uint32(h.Gid)
	n.Mtime = tree.Timespec{Sec: h.ModTime.Unix(), Nsec: uint32(h.ModTime.Nanosecond())}
	return n, addXattrs(n, h)
}

// paxXattr is what keys of pax records begin with that are attributes: GNU tar, bsdtar, star, docker.
const paxXattr = "SCHILY.xattr."

// Keys of pax records that tell what an inode has and a tree does not understand: ACLs in words, and
// a SELinux context that GNU tar records with --selinux and not with --xattrs.
var paxIgnored = []string{"SCHILY.acl.access", "SCHILY.acl.default", "SCHILY.acl.ace", "RHT.security.selinux"}

func addXattrs(n *tree.Inode, h *tar.Header) error {
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok {
			continue
		}
		if name == "" || len(name) > tree.MaxXattrName || strings.ContainsRune(name, 0) {
			return fmt.Errorf("%w: an attribute with a name of %d bytes", ErrEntry, len(name))
		}
		n.SetXattr(strings.Clone(name), strings.Clone(value)) // parts of all records
	}
	return nil
}
