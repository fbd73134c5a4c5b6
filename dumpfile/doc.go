// Package dumpfile reads and writes composefs-dump(5), the text form of a file tree.
//
// # Words
//
// A dump has one line for each name of the tree, a directory before what it holds, the root
// first:
//
//	PATH SIZE MODE NLINK UID GID RDEV MTIME PAYLOAD CONTENT DIGEST [KEY=VALUE ...]
//
// separated by single spaces. The payload is a symlink's target, a file's backing path in the
// store, or the target of a hard link, whose mode starts with "@". The content is that of an
// inline file, the digest the fs-verity digest of an external one. In these three fields a
// lone "-" means "none".
//
//	/ 0 40755 3 0 0 0 1700000000.0 - - -
//	/bin 7 120777 1 0 0 0 1700000000.0 usr/bin - -
//	/motd 6 100644 2 0 0 0 1700000000.0 - hello\n -
//	/motd.old 0 @120000 - - - - 0.0 /motd - -
//
// Bytes that are not printable ASCII, and backslashes, are escaped: \\ \n \r \t \xHH. Numbers
// are decimal, the mode is octal, the time is seconds, a dot, and nanoseconds.
//
// # Compatibility
//
// Read accepts what mkcomposefs 1.0.8 accepts, and what composefs-rs 0.9 writes, but for input
// that the C reader takes and cannot mean: malformed digests (it writes random bytes), escaped
// NULs (it cuts the string), hard links to directories and in circles, malformed ids (it reads
// some as 0), sizes that no image can hold, and nanoseconds that are a second or more. Write
// gives the bytes that composefs-info dump prints.
//
// The format is described in docs/format-dump.md. Functions of this package may be called from
// any number of goroutines, as long as none changes a tree that another writes.
package dumpfile
