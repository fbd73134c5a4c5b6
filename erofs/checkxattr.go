package erofs

import (
	"slices"
	"strings"

	"github.com/go-composefs/composefs/internal/xxh32"
	"github.com/go-composefs/composefs/tree"
)

// xattrs checks the attributes of an inode.
func (c *checker) xattrs(at int, in *Inode) {
	pos := in.pos + uint64(in.bodySize)
	raw, err := in.rawXattrs()
	if err != nil {
		c.failed(ProblemXattr, at, err)
		return
	}
	if in.xattrSize == xattrHeaderSize {
		c.report(ProblemXattr, at, pos, "the attribute area has a head and nothing else")
	}
	attrs := c.attrs[:0]
	var bits uint32
	inline := 0
	for len(raw.inline) > 0 {
		x, skip, reason := raw.next()
		if reason != "" {
			c.report(ProblemXattr, at, pos, "%s", reason)
			return
		}
		if skip {
			if c.img.head.present {
				c.report(ProblemXattr, at, pos, "an attribute is padding")
			}
			continue
		}
		named, ok := c.namedXattr(at, x)
		if !ok {
			return
		}
		bits |= named.bit
		attrs = append(attrs, named.Xattr)
		inline++
	}
	for ids := raw.shared; len(ids) > 0; ids = ids[4:] {
		x, ok := c.sharedXattr(at, le.Uint32(ids))
		if !ok {
			return
		}
		bits |= x.bit
		attrs = append(attrs, x.Xattr)
	}
	c.attrs = attrs
	c.xattrFilter(at, in, raw.filter, bits)
	c.xattrOrder(at, attrs, inline)
	if c.img.head.present {
		c.overlay(at, in, attrs)
	}
}

// checkedXattr is an attribute and the bit that it takes from the name filter.
type checkedXattr struct {
	tree.Xattr
	bit uint32
}

// namedXattr checks the name of an attribute, which composefs images spell in one way only.
func (c *checker) namedXattr(at int, x rawXattr) (checkedXattr, bool) {
	name, err := c.img.xattrName(x)
	if err != nil {
		c.failed(ProblemXattr, at, err)
		return checkedXattr{}, false
	}
	if index, _ := xattrNameIndex(name, c.img.head.format); c.img.head.present && index != x.index {
		c.report(ProblemXattr, at, noOffset, "attribute %q has name index %d, not %d", name, x.index, index)
	}
	if name == xattrPrefixes[xattrIndexACLAccess] || name == xattrPrefixes[xattrIndexACLDefault] {
		c.acl = true
	}
	index, rest := x.index, string(x.name)
	if index&xattrLongPrefix != 0 {
		// The kernel looks for what follows the short prefix.
		short, prefix := xattrNameIndex(name, FormatV2)
		index, rest = short, name[prefix:]
	}
	bit := uint32(1) << (xxh32.Sum(rest, filterSeed+uint32(index)) & 31)
	return checkedXattr{tree.Xattr{Name: name, Value: string(x.value)}, bit}, true
}

// sharedXattr returns the attribute of a shared id.
func (c *checker) sharedXattr(at int, id uint32) (checkedXattr, bool) {
	if x, ok := c.shared[id]; ok {
		return x, true
	}
	raw, err := c.img.sharedXattr(id)
	if err != nil {
		c.failed(ProblemXattrShared, at, err)
		return checkedXattr{}, false
	}
	x, ok := c.namedXattr(at, raw)
	if cost := uint64(len(raw.value)); ok && cost <= c.budget {
		c.budget -= cost
		c.shared[id] = x
	}
	return x, ok
}

// xattrFilter compares the name filter with the bits of the attributes that are there. A bit
// that is set says that no attribute hashes to it.
func (c *checker) xattrFilter(at int, in *Inode, filter, bits uint32) {
	if in.xattrSize == 0 || c.img.sb.Compat&featureCompatXattrFilter == 0 || c.img.sb.noFilter {
		return
	}
	pos := in.pos + uint64(in.bodySize)
	if hidden := filter & bits; hidden != 0 {
		c.report(ProblemXattrFilter, at, pos, "the name filter %#08x hides attributes that are there: bits %#x", filter, hidden)
	} else if c.img.head.present && filter != ^bits {
		c.report(ProblemXattrFilter, at, pos, "the name filter is %#08x, the attributes give %#08x", filter, ^bits)
	}
}

// xattrOrder checks that names are there once and, in V0 and V1, in order. attrs are the inline
// ones and then the shared ones.
func (c *checker) xattrOrder(at int, attrs []tree.Xattr, inline int) {
	for i := 1; i < len(attrs) && c.img.escapes(); i++ {
		if i != inline && attrs[i].Name < attrs[i-1].Name {
			c.report(ProblemXattrOrder, at, noOffset, "attribute %q comes after %q", attrs[i].Name, attrs[i-1].Name)
		}
	}
	c.names = c.names[:0]
	for _, x := range attrs {
		c.names = append(c.names, x.Name)
	}
	slices.Sort(c.names)
	for i := 1; i < len(c.names); i++ {
		if c.names[i] == c.names[i-1] {
			c.report(ProblemXattrOrder, at, noOffset, "attribute %q is there twice", c.names[i])
		}
	}
}

// sharedTable goes through the shared attributes of a composefs image, which lie between the
// inodes and the data, one after the other, in order, and are used by more than one inode.
func (c *checker) sharedTable(start uint64) {
	base := uint64(c.img.sb.XattrBlock) << c.img.sb.BlockBits
	entries := map[uint32]struct{}{}
	var last tree.Xattr
	pos := start
	for pos+xattrEntrySize <= c.firstData {
		head, err := c.img.win.bytes(pos, xattrEntrySize)
		if err != nil {
			c.failed(ProblemXattrShared, -1, err)
			return
		}
		if allZero(head) {
			break
		}
		if pos < base || (pos-base)/4 > 1<<32-1 {
			c.report(ProblemXattrShared, -1, pos, "a shared attribute has no id")
			return
		}
		id := uint32((pos - base) / 4)
		raw, err := c.img.sharedXattr(id)
		if err != nil {
			c.failed(ProblemXattrShared, -1, err)
			return
		}
		name, err := c.img.xattrName(raw)
		if err != nil {
			c.failed(ProblemXattrShared, -1, err)
			return
		}
		x := tree.Xattr{Name: name, Value: string(raw.value)}
		if pos > start && c.img.escapes() && compareShared(last, x) <= 0 {
			c.report(ProblemXattrShared, -1, pos, "shared attribute %q comes after %q", x.Name, last.Name)
		}
		last = x
		entries[id] = struct{}{}
		size := uint64(xattrEntrySize + len(raw.name) + len(raw.value))
		c.use(false, pos, pos+size, -1)
		pos = alignUp(pos+size, 4)
	}
	for id, x := range c.shared {
		if _, ok := entries[id]; !ok {
			c.report(ProblemXattrShared, -1, base+uint64(id)*4, "shared id %d of attribute %q is no entry of the table", id, x.Name)
		}
	}
}

// compareShared orders as the table of V0 and V1 does, the other way round.
func compareShared(a, b tree.Xattr) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	if len(a.Value) != len(b.Value) {
		return len(a.Value) - len(b.Value)
	}
	return strings.Compare(a.Value, b.Value)
}
