package dumpfile

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-composefs/composefs/tree"
)

// maxXattrText is how long the attributes of a line may be, in bytes, with each hex escape
// taken for one byte. The C reader counts an escape as four bytes, and so refuses lines that
// composefs-info printed: all that an image can hold fits here.
const maxXattrText = 65535

// parseXattrs reads the KEY=VALUE pairs at the end of a line.
func (b *builder) parseXattrs(n *tree.Inode, text []byte) error {
	// Most files have the attributes of their neighbour: one label.
	if !bytes.Equal(text, b.xattrText) {
		if err := b.parseXattrList(text); err != nil {
			return err
		}
		b.xattrText = append(b.xattrText[:0], text...)
	}
	n.Xattrs = b.arena.keepXattrs(b.xattrs)
	return nil
}

// parseXattrList sets b.xattrs.
func (b *builder) parseXattrList(text []byte) error {
	if len(text) > maxXattrText && len(text)-3*bytes.Count(text, []byte(`\x`)) > maxXattrText {
		return b.errorf("xattrs", "Too many xattrs")
	}
	list := b.xattrs[:0]
	cost := 12 // counts as tree.Inode.XattrCost does
	for len(text) > 0 {
		var pair []byte
		pair, text, _ = bytes.Cut(text, []byte{' '})
		key, value, ok := bytes.Cut(pair, []byte{'='})
		if !ok {
			return b.errorf("xattrs", "Missing = in xattr")
		}
		var err error
		if b.name, err = unescape(b.name[:0], key); err != nil {
			return b.errorf("xattrs", "%v", err)
		}
		if b.content, err = unescape(b.content[:0], value); err != nil {
			return b.errorf("xattrs", "%v", err)
		}
		switch {
		case bytes.IndexByte(b.name, 0) >= 0:
			return b.errorf("xattrs", "escaped NUL character in name %s", quote(b.name))
		case len(b.name) == 0 || len(b.name) > tree.MaxXattrName:
			return b.errorf("xattrs", "Can't set xattr: name of %d bytes, want 1 to %d", len(b.name), tree.MaxXattrName)
		}
		x := tree.Xattr{Name: b.arena.intern(b.name), Value: b.arena.intern(b.content)}
		at, found := slices.BinarySearchFunc(list, x.Name, func(x tree.Xattr, name string) int {
			return strings.Compare(x.Name, name)
		})
		if found {
			cost += len(x.Value) - len(list[at].Value)
			list[at] = x
		} else {
			cost += 7 + len(x.Name) + len(x.Value)
			list = slices.Insert(list, at, x)
		}
		if cost > tree.MaxXattrCost {
			return b.errorf("xattrs", "Can't set xattr: with %s they need %d bytes, %d are possible", quote(x.Name), cost, tree.MaxXattrCost)
		}
	}
	b.xattrs = list
	return nil
}
