package erofs

import (
	"cmp"
	"slices"
)

// span is a range of bytes that belongs to something.
type span struct {
	start, end uint64
	at         int // index of the inode, or -1
}

// boxSpan is added to offsets in the metabox, to keep them apart.
const boxSpan = 1 << 63

// use notes that bytes belong to an inode.
func (c *checker) use(inBox bool, start, end uint64, at int) {
	if start == end {
		return
	}
	if inBox {
		start, end = start|boxSpan, end|boxSpan
	}
	c.spans = append(c.spans, span{start, end, at})
}

// space looks for bytes that two things claim and, in composefs images, for bytes that nothing
// claims and that are not zero.
func (c *checker) space() {
	if c.done || len(c.inodes) == 0 {
		return
	}
	if c.img.head.present {
		c.sharedTable(c.inodesEnd())
		c.use(false, 0, superOffset+superSize, -1)
	}
	slices.SortFunc(c.spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	end := uint64(0)
	for _, s := range c.spans {
		switch {
		case s.start < end:
			c.report(ProblemOverlap, s.at, s.start&^boxSpan, "%d bytes belong to something else too", min(end, s.end)-s.start)
		case c.img.head.present:
			c.gap(end, s.start)
		}
		end = max(end, s.end)
	}
	if c.img.head.present {
		c.gap(end, c.img.win.size)
	}
}

// inodesEnd returns where the last inode ends, at the multiple of 32 where the shared
// attributes start.
func (c *checker) inodesEnd() uint64 {
	end := uint64(superOffset + superSize)
	for _, s := range c.spans {
		if s.start < c.firstData {
			end = max(end, s.end)
		}
	}
	return alignUp(end, nidSize)
}

// gap checks that bytes of the image are zero, but for the blocks of spilled chunk tables.
func (c *checker) gap(from, to uint64) {
	for from < to && !c.done {
		n := min(to-from, 1<<c.img.sb.BlockBits-from&(1<<c.img.sb.BlockBits-1))
		b, err := c.img.win.bytes(from, int(n))
		if err != nil {
			c.failed(ProblemRead, -1, err)
			return
		}
		if !allZero(b) {
			if c.spills == 0 || len(b) != 1<<c.img.sb.BlockBits || !allOnes(b) {
				c.report(ProblemSpace, -1, from, "bytes between %d and %d belong to nothing and are not zero", from, from+n)
				return
			}
			c.spills--
		}
		from += n
	}
}

func allOnes(b []byte) bool {
	for _, x := range b {
		if x != 0xff {
			return false
		}
	}
	return true
}
