package erofs

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// overlay checks overlayfs's own attributes on one inode of a composefs image.
func (c *checker) overlay(at int, in *Inode, attrs []tree.Xattr) {
	var digest fsverity.Digest
	object, hasMetacopy := "", false
	for _, x := range attrs {
		if _, keep := unescapeOverlay(x.Name); keep {
			continue
		}
		reason := ""
		switch {
		case x.Name == xattrMetacopy && in.isExternal():
			hasMetacopy = true
			digest, reason = parseMetacopy([]byte(x.Value))
		case x.Name == xattrRedirect && in.isExternal():
			if object, reason = parseRedirect(x.Value); reason == "" {
				object, reason = storeName(object)
			}
		case x.Name == xattrOpaque && x.Value == "y" && at == 0 && c.img.escapes():
		default:
			reason = x.Name + " is not what a composefs image has there"
		}
		if reason != "" {
			c.report(ProblemOverlay, at, in.pos, "%s", reason)
		}
	}
	if at == 0 && c.img.escapes() && !slices.Contains(attrs, tree.Xattr{Name: xattrOpaque, Value: "y"}) {
		c.report(ProblemOverlay, at, in.pos, "the root lacks %s", xattrOpaque)
	}
	if !in.isExternal() {
		if in.IsRegular() && in.Size > tree.MaxInline {
			c.report(ProblemLayout, at, in.pos, "%d bytes of content are in the image, at most %d can be", in.Size, tree.MaxInline)
		}
		return
	}
	if !hasMetacopy {
		c.report(ProblemOverlay, at, in.pos, "a file without data lacks %s: a mount shows zeros", xattrMetacopy)
	}
	if c.opts.Objects != nil && object != "" {
		c.external = append(c.external, externalFile{at: at, size: in.Size, digest: digest, name: object})
	}
}

// whiteouts checks that the root has the 256 stubs or the tree's own entries in their place,
// and that there is no other whiteout.
func (c *checker) whiteouts() {
	var root Inode
	if err := c.img.readInode(c.inodes[0].nid, &root); err != nil {
		return // reported by walk
	}
	label := selinuxLabel(&root)
	for i := range 256 {
		name := fmt.Sprintf("%02x", i)
		at, ok := c.stubs[name]
		if !ok {
			c.report(ProblemStub, 0, noOffset, "the root has no entry %s", name)
			continue
		}
		var in Inode
		if err := c.img.readInode(c.inodes[at].nid, &in); err != nil || !in.IsWhiteout() {
			continue
		}
		if in.Mode != tree.TypeChar|0o644 || in.UID != root.UID || in.GID != root.GID || in.Mtime != root.Mtime || in.Nlink != 1 {
			c.report(ProblemStub, at, in.pos, "mode, owner or time are not those of a stub")
		}
		if got := selinuxLabel(&in); !slices.Equal(got, label) {
			c.report(ProblemStub, at, in.pos, "the stub's attributes are not the root's label")
		}
	}
	for at := range c.inodes {
		if c.inodes[at].mode&tree.TypeMask != tree.TypeChar {
			continue
		}
		if stub, ok := c.stubs[c.inodes[at].name]; ok && stub == at {
			continue
		}
		var in Inode
		if err := c.img.readInode(c.inodes[at].nid, &in); err == nil && in.IsWhiteout() {
			c.report(ProblemWhiteout, at, in.pos, "a whiteout that is not escaped: a mount hides it")
		}
	}
}

// selinuxLabel returns the attributes of a stub, all of them, or what a root gives its stubs.
func selinuxLabel(in *Inode) []tree.Xattr {
	var attrs []tree.Xattr
	for x, err := range in.Xattrs() {
		if err != nil {
			return nil
		}
		if !in.IsDir() || x.Name == "security.selinux" {
			attrs = append(attrs, x)
		}
	}
	return attrs
}

// storeName makes a name in the store of a backing path; reason is not empty if it leads out
// of it. The kernel looks such paths up from the root of the data layer, where repeated
// slashes do no harm.
func storeName(backing string) (name, reason string) {
	var parts []string
	for part := range strings.SplitSeq(backing, "/") {
		switch part {
		case "", ".":
		case "..":
			return "", xattrRedirect + " leads out of the store"
		default:
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return "", xattrRedirect + " names no file"
	}
	return strings.Join(parts, "/"), ""
}
