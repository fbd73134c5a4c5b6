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
	// interned has names and values that may come again: attribute names, labels.
	interned map[string]string
}

const (
	byteChunk  = 64 << 10
	inodeChunk = 1024 // fills whole pages: 21 of 8 KiB
	xattrChunk = 1024

	// Longer strings are not worth a look in the table of repeated ones.
	maxInterned = 256
	// The table starts anew when it is full: values that are all different, signatures say,
	// would make it as large as the tree.
	internedStrings = 8192
)

// copy returns a copy of b. Its capacity is its length, so that appending to it is safe.
func (a *arena) copy(b []byte) []byte {
	if len(b) > byteChunk/8 {
		return append(make([]byte, 0, len(b)), b...)
	}
	if len(a.bytes)+len(b) > cap(a.bytes) {
		a.bytes = make([]byte, 0, byteChunk)
	}
	start := len(a.bytes)
	a.bytes = append(a.bytes, b...)
	return a.bytes[start:len(a.bytes):len(a.bytes)]
}

// string returns a string of the bytes of b.
func (a *arena) string(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	// Nobody else has this copy, and a chunk only grows behind what it holds.
	return unsafe.String(unsafe.SliceData(a.copy(b)), len(b))
}

// intern is string for text that is likely to come again.
func (a *arena) intern(b []byte) string {
	if len(b) > maxInterned {
		return a.string(b)
	}
	if s, ok := a.interned[string(b)]; ok {
		return s
	}
	if a.interned == nil || len(a.interned) == internedStrings {
		a.interned = map[string]string{}
	}
	s := a.string(b)
	a.interned[s] = s
	return s
}

// inode returns a zero inode.
func (a *arena) inode() *tree.Inode {
	if len(a.inodes) == cap(a.inodes) {
		a.inodes = make([]tree.Inode, 0, inodeChunk)
	}
	a.inodes = a.inodes[:len(a.inodes)+1]
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
