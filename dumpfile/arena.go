package dumpfile

import (
	"unsafe"

	"github.com/go-composefs/composefs/tree"
)

// arena allocates the small pieces of a tree in large chunks: a million-line dump has several
// million of them. A chunk lives as long as any piece of it.
type arena struct {
	bytes  []byte
	inodes []tree.Inode
	xattrs []tree.Xattr
	// names and values repeat: labels, attribute names.
	interned map[string]string
}

const (
	byteChunk  = 64 << 10
	inodeChunk = 256
	xattrChunk = 1024
	// Longer strings are not worth a look in the table of repeated ones.
	maxInterned = 256
)

// string returns a string of the bytes of b.
func (a *arena) string(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if len(b) > byteChunk/8 {
		return string(b)
	}
	if len(a.bytes)+len(b) > cap(a.bytes) {
		a.bytes = make([]byte, 0, byteChunk)
	}
	start := len(a.bytes)
	a.bytes = append(a.bytes, b...)
	// The bytes are never written again: the chunk only grows behind them.
	return unsafe.String(&a.bytes[start], len(b))
}

// intern is string for text that is likely to come again.
func (a *arena) intern(b []byte) string {
	if len(b) > maxInterned {
		return string(b)
	}
	if s, ok := a.interned[string(b)]; ok {
		return s
	}
	s := a.string(b)
	a.interned[s] = s
	return s
}

func (a *arena) inode() *tree.Inode {
	if len(a.inodes) == cap(a.inodes) {
		a.inodes = make([]tree.Inode, 0, inodeChunk)
	}
	a.inodes = append(a.inodes, tree.Inode{})
	return &a.inodes[len(a.inodes)-1]
}

// keepXattrs returns a copy of list.
func (a *arena) keepXattrs(list []tree.Xattr) []tree.Xattr {
	if len(list) == 0 {
		return nil
	}
	if len(a.xattrs)+len(list) > cap(a.xattrs) {
		a.xattrs = make([]tree.Xattr, 0, max(xattrChunk, len(list)))
	}
	start := len(a.xattrs)
	a.xattrs = append(a.xattrs, list...)
	return a.xattrs[start:len(a.xattrs):len(a.xattrs)]
}
