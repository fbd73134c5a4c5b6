// Package tree holds a file tree in memory: the form that every other format is read into
// and written from.
//
// # Words
//
// An [Inode] is one file of any type with its metadata. A directory is an inode whose
// Children list [Entry] values, sorted by the bytes of their names. Two entries that point to
// the same inode are hard links; exactly one of them is the inode's own place in the tree, the
// others are marked Link. The mark matters: EROFS images number inodes by their own place, so
// moving it changes an image's digest.
//
//	root ──► Inode (directory)
//	           Children ─► "bin"   ──► Inode (symlink)    Target "usr/bin"
//	                       "etc"   ──► Inode (directory)
//	                       "hosts" ──► Inode (regular)    Content, inline
//	                       "vmlinuz" ► Inode (regular)    Digest, content in the store
//	                       "vmlinuz.old", Link ──┘ the same Inode
//
// The content of a regular file is either inline (Content) or external: an object in a store,
// named by its fs-verity Digest, or by an explicit Backing path.
//
// # Directories
//
// [Scan] reads a directory into a tree, [Extract] writes a tree to a directory; what is extracted
// is scanned as what it was. Both work with all processors, and by descriptors alone, so that
// nothing leads them out of the directory. They exist on Linux. [Compare] lists what differs
// between two trees, wherever they come from.
//
// Nodes are plain data without locks: any number of goroutines may read a tree that none
// changes.
package tree
