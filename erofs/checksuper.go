package erofs

import (
	"cmp"
	"slices"

	"github.com/go-composefs/composefs/tree"
)

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
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(c.inodes[a].nid, c.inodes[b].nid) })
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
