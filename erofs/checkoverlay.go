package erofs

import (
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

// super checks what the superblock and the header say against each other and the image.
func (c *checker) super() {
	sb, size := &c.img.sb, c.img.win.size
	bytes := c.img.blockPos(sb.Blocks)
	switch {
	case bytes > size:
		c.report(ProblemSuper, -1, superOffset+sbBlocks, "%d blocks of %d bytes are announced, the image has %d bytes", sb.Blocks, sb.BlockSize(), size)
	case bytes < size && c.img.head.present:
		c.report(ProblemSuper, -1, superOffset+sbBlocks, "%d blocks of %d bytes are announced, the image goes on to %d bytes", sb.Blocks, sb.BlockSize(), size)
	}
	if start := uint64(sb.XattrBlock) << sb.BlockBits; start > size {
		c.report(ProblemSuper, -1, superOffset+sbXattrBlock, "the shared attributes start at byte %d of %d", start, size)
	}
	if c.img.prefixErr != nil {
		c.failed(ProblemSuper, -1, c.img.prefixErr)
	}
	if c.img.boxErr != nil {
		c.failed(ProblemSuper, -1, c.img.boxErr)
	}
	if !c.img.head.present {
		return
	}
	head, err := c.img.win.bytes(0, superOffset+superSize)
	if err != nil {
		c.failed(ProblemRead, -1, err)
		return
	}
	if flags := le.Uint32(head[8:]); flags&^headerFlagACL != 0 {
		c.report(ProblemHeader, -1, 8, "unknown bits in the flags %#x", flags)
	}
	if !allZero(head[16:superOffset]) {
		c.report(ProblemHeader, -1, 16, "the bytes between the header and the superblock are not zero")
	}
	super := head[superOffset:]
	if sb.BlockBits != blockBits {
		c.report(ProblemSuper, -1, superOffset+sbBlockBits, "a composefs image has blocks of 4096 bytes, not %d", sb.BlockSize())
	}
	if want := uint32(featureCompatMtime | featureCompatXattrFilter); sb.Compat&^featureCompatSBChecksum != want {
		c.report(ProblemSuper, -1, superOffset+sbFeatureCompat, "feature_compat is %#x, not %#x", sb.Compat, want)
	}
	if sb.Incompat&^featureIncompatChunkedFile != 0 {
		c.report(ProblemSuper, -1, superOffset+sbIncompat, "feature_incompat is %#x", sb.Incompat)
	}
	for _, field := range []struct {
		at, end int
		name    string
	}{
		{sbExtSlots, sbExtSlots + 1, "sb_extslots"},
		{sbMetaBlock, sbMetaBlock + 4, "meta_blkaddr"},
		{sbUUID, sbIncompat, "the UUID or the volume name"},
		{sbIncompat + 4, superSize, "a field behind feature_incompat"},
	} {
		if !allZero(super[field.at:field.end]) {
			c.report(ProblemSuper, -1, uint64(superOffset+field.at), "%s is not zero", field.name)
		}
	}
}

// composefs checks what only the whole of a composefs image tells.
func (c *checker) composefs() {
	if !c.img.head.present || len(c.inodes) == 0 || c.done {
		return
	}
	sb := &c.img.sb
	if sb.Inodes != uint64(len(c.inodes)) {
		c.report(ProblemSuper, -1, superOffset+sbInos, "%d inodes are announced, there are %d", sb.Inodes, len(c.inodes))
	}
	var build tree.Timespec
	acl := false
	if c.img.escapes() {
		build, acl = c.earliest, c.acl
	}
	if sb.BuildTime != build {
		c.report(ProblemSuper, -1, superOffset+sbBuildTime, "the build time is %d.%09d, the files give %d.%09d", sb.BuildTime.Sec, sb.BuildTime.Nsec, build.Sec, build.Nsec)
	}
	if c.img.head.acl != acl {
		c.report(ProblemHeader, -1, 8, "the header says that files have ACLs: %v; they have: %v", c.img.head.acl, acl)
	}
	c.numbers()
	if c.img.escapes() {
		c.whiteouts()
	}
}

// numbers checks i_ino: the nid in V2, the place in the order of inodes in V0 and V1.
func (c *checker) numbers() {
	order := make([]int, len(c.inodes))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case c.inodes[a].nid < c.inodes[b].nid:
			return -1
		case c.inodes[a].nid > c.inodes[b].nid:
			return 1
		}
		return 0
	})
	for i, at := range order {
		n := &c.inodes[at]
		want := uint32(i)
		if c.img.head.format == FormatV2 {
			want = uint32(n.nid)
		}
		if n.mode != 0 && n.ino != want {
			c.report(ProblemInode, at, noOffset, "i_ino is %d, not %d", n.ino, want)
			return // the rest follows
		}
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
		name := stubName(i)
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

func stubName(i int) string {
	const hex = "0123456789abcdef"
	return hex[i>>4:i>>4+1] + hex[i&15:i&15+1]
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
