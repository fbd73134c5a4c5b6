package erofs

import (
	"github.com/go-composefs/composefs/tree"
)

// inode checks one inode and, if it is a directory, its entries.
func (c *checker) inode(at int, in *Inode) {
	if in.Mtime.Compare(c.earliest) < 0 {
		c.earliest = in.Mtime
	}
	c.reserved(at, in)
	tail, ok := c.layout(at, in)
	if !ok {
		return
	}
	end := in.tailPos() + tail
	if !c.inMeta(in, end) {
		c.report(ProblemLayout, at, in.pos, "the inode with what follows it reaches to byte %d", end)
		return
	}
	c.use(in.inBox, in.pos, end, at)
	c.xattrs(at, in)
	switch in.Type() {
	case tree.TypeDir:
		c.directory(at, in)
	case tree.TypeSymlink:
		if _, err := in.Readlink(); err != nil {
			c.failed(ProblemSymlink, at, err)
		}
	}
}

// inMeta says whether metadata of the inode may end there.
func (c *checker) inMeta(in *Inode, end uint64) bool {
	if in.inBox {
		return end <= c.img.box.Size
	}
	return end <= c.img.win.size
}

// reserved checks the fields of an inode that stand for nothing.
func (c *checker) reserved(at int, in *Inode) {
	b, err := c.img.meta(in.inBox, in.pos, int(in.bodySize))
	if err != nil {
		c.failed(ProblemInode, at, err)
		return
	}
	if in.Extended() {
		if !allZero(b[48:]) {
			c.report(ProblemInode, at, in.pos+48, "the reserved end of the inode is not zero")
		}
		if c.img.head.present && !allZero(b[6:8]) {
			c.report(ProblemInode, at, in.pos+6, "i_nb is not zero")
		}
	} else {
		if !allZero(b[28:]) {
			c.report(ProblemInode, at, in.pos+28, "the reserved end of the inode is not zero")
		}
		if c.img.head.present && !allZero(b[12:16]) {
			c.report(ProblemInode, at, in.pos+12, "i_mtime is not zero")
		}
	}
	if c.img.head.present && le.Uint16(b)&formatBit4 != 0 {
		c.report(ProblemInode, at, in.pos, "bit 4 of i_format is set")
	}
	if c.img.head.present && !in.hasData() {
		if in.Size != 0 || in.Layout != LayoutFlat {
			c.report(ProblemInode, at, in.pos, "a special file has %d bytes in %s", in.Size, in.Layout)
		}
		if in.Type() != tree.TypeChar && in.Type() != tree.TypeBlock && !allZero(b[16:20]) {
			c.report(ProblemInode, at, in.pos+16, "a FIFO or socket has i_u %#x", le.Uint32(b[16:]))
		}
	}
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// layout checks where data lies and returns how many bytes follow the attributes.
func (c *checker) layout(at int, in *Inode) (tail uint64, ok bool) {
	if !in.hasData() {
		return 0, true
	}
	if c.img.head.present && (in.compressed() || in.Layout == LayoutChunked && !in.isExternal()) {
		c.report(ProblemLayout, at, in.pos, "%s of mode %o in a composefs image", in.Layout, in.Mode)
	}
	bits := c.img.sb.BlockBits
	switch in.Layout {
	case LayoutChunked:
		return c.chunks(at, in)
	case LayoutFlat:
		return 0, in.hole || c.blocks(at, in, in.Size)
	case LayoutInline:
		if in.Size == 0 {
			return 0, true
		}
		inBlocks := (in.Size - 1) >> bits << bits
		tail = in.Size - inBlocks
		within := in.tailPos() & (1<<bits - 1)
		if within+tail > 1<<bits {
			c.report(ProblemLayout, at, in.tailPos(), "%d bytes of inline data cross the end of a block", tail)
		}
		if c.img.escapes() && in.Type() == tree.TypeSymlink && in.pos>>bits != (in.tailPos()+tail-1)>>bits {
			c.report(ProblemLayout, at, in.pos, "an inline symlink crosses the end of a block, which Linux before 6.0 refuses")
		}
		return tail, c.blocks(at, in, inBlocks)
	case LayoutCompressedFull, LayoutCompressedCompact:
		c.note(ProblemUnsupported, at, noOffset, "compressed data (%s)", in.Layout)
	}
	return 0, true
}

// blocks checks the n bytes of flat data that lie in blocks.
func (c *checker) blocks(at int, in *Inode, n uint64) bool {
	if n == 0 {
		return true
	}
	e, err := c.img.locate(in.start, 0, 0, n)
	if err != nil {
		c.failed(ProblemLayout, at, err)
		return false
	}
	if e.source != inImage {
		return true
	}
	if e.pos > c.img.win.size || n > c.img.win.size-e.pos {
		c.report(ProblemLayout, at, in.pos+16, "%d bytes of data from block %d on lie outside of the image", n, in.start)
		return false
	}
	c.use(false, e.pos, e.pos+n, at)
	c.firstData = min(c.firstData, e.pos)
	return true
}

// chunks checks the chunk table of a file and returns its size, with the padding before it.
func (c *checker) chunks(at int, in *Inode) (tail uint64, ok bool) {
	bits := uint(c.img.sb.BlockBits) + uint(in.chunkFormat&chunkBitsMask)
	unit := uint64(chunkMapEntry)
	if in.chunkFormat&chunkIndexes != 0 {
		unit = chunkIndexSize
	}
	count := (in.Size + 1<<bits - 1) >> bits
	start := alignUp(in.tailPos(), unit)
	if in.isExternal() && c.img.head.present {
		return c.holes(at, in, count)
	}
	if count > c.img.win.size/unit || !c.inMeta(in, start+count*unit) {
		c.report(ProblemChunks, at, start, "a table of %d chunks does not fit in the image", count)
		return 0, false
	}
	bad := 0
	for i := range count {
		off := i << bits
		e, err := in.extent(off)
		if err == nil && e.source == inImage && (e.pos > c.img.win.size || min(e.n, in.Size-off) > c.img.win.size-e.pos) {
			err = corruptf(in.Nid, start+i*unit, "chunk %d lies outside of the image", i)
		}
		if err != nil {
			if bad++; bad <= 3 {
				c.failed(ProblemChunks, at, err)
			}
		}
	}
	return start + count*unit - in.tailPos(), true
}

// holes checks the table of an external file, which has holes only. In V2 it has one entry
// whatever the size. A table that does not fit in the inode's block was put elsewhere.
func (c *checker) holes(at int, in *Inode, count uint64) (tail uint64, ok bool) {
	bits := c.img.sb.BlockBits
	if in.chunkFormat&^chunkBitsMask != 0 {
		c.report(ProblemChunks, at, in.pos+16, "the chunk format of an external file is %#x", in.chunkFormat)
		return 0, true
	}
	if c.img.head.format == FormatV2 {
		count = 1
	}
	start := in.tailPos()
	if start>>bits != (start+count*chunkMapEntry-1)>>bits {
		if count < 1017 || count > 1024 {
			c.report(ProblemChunks, at, start, "a table of %d chunks crosses the end of a block", count)
			return 0, true
		}
		c.spills++
		c.note(ProblemChunkSpill, at, start, "the table of %d chunks is not behind the inode; overlayfs never reads it", count)
		return 0, true
	}
	b, err := c.img.meta(in.inBox, start, int(count*chunkMapEntry))
	if err != nil {
		c.failed(ProblemChunks, at, err)
		return 0, false
	}
	for _, x := range b {
		if x != 0xff {
			c.report(ProblemChunks, at, start, "an external file has data in the image")
			break
		}
	}
	return count * chunkMapEntry, true
}
