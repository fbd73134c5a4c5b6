// Package erofs writes and reads EROFS images, those of composefs above all.
//
// # Words
//
// An image is a sequence of blocks. Its inodes are numbered by nid: the inode's byte offset
// from the metadata area, divided by 32. An inode is followed by its extended attributes and
// by its tail: the last bytes of a small file, a short symlink, the end of a directory, or the
// chunk map of a file whose data is elsewhere. Data that is no tail lies in blocks of its own.
//
// A composefs image holds no data of external files. Such a file is a chunk-based inode of
// holes with the right size, and two attributes that overlayfs follows: a redirect to the
// object in a data-only layer, and a metacopy with the fs-verity digest the object must have.
//
// # Layout of an image that Write makes
//
//	   0 ┌──────────────────────────────┐
//	     │ composefs header, 32 bytes   │ magic, version, has ACLs, format
//	1024 ├──────────────────────────────┤
//	     │ EROFS superblock, 128 bytes  │ root nid, inode count, build time
//	1152 ├──────────────────────────────┤
//	     │ inode │ xattrs │ tail │ pad  │ each on a 32-byte boundary, padded so that no
//	     │ inode │ xattrs │ tail │ pad  │ tail crosses a block boundary
//	     │ …                            │
//	     ├──────────────────────────────┤
//	     │ shared xattrs                │ every attribute that several inodes have, once
//	     ├──────────────────────────────┤ block boundary
//	     │ data blocks                  │ directories, larger inline files, long symlinks
//	     └──────────────────────────────┘
//
// # Formats
//
// The bytes of an image follow from the tree and the [Format] alone; equal trees have equal
// digests, here and in the other implementations. V0 and V1 are the format of the C tools:
// inodes in breadth-first order, 256 stub whiteouts in the root that hide the object
// directories from old kernels, whiteouts of the tree escaped; V1 marks directories that hold
// whiteouts as opaque besides. V2 is the format of older composefs-rs releases: depth-first,
// always 64-byte inodes, no stubs, nothing escaped but overlayfs's attributes.
//
// # Promises
//
// Images are stable: a release that changes the bytes for any tree says so in the change log.
// Reading never trusts the image: a damaged or hostile one gives errors, not panics, and costs
// no more memory than in proportion to its size. An [Image] may be used by any number of
// goroutines at once; a tree must not be changed while it is written.
package erofs
