// Package flatten makes one file tree of the layers of a container image.
//
// # Words
//
// A layer is a tar that changes the tree of the layers below it. A whiteout is an entry ".wh.NAME", which
// removes NAME; an opaque whiteout, ".wh..wh..opq", removes all that is in its directory. Parents without
// an entry of their own are implied: mode 0755, owner 0, time 0.
//
// # Rules
//
// They are those of the OCI image specification, layer.md of version 1.1, and where it is silent what
// container engines do, which unpack a layer as if in a root directory of its own:
//
//   - Whiteouts remove what lower layers brought, and nothing of their own layer, wherever in it they stand.
//     A directory that they remove and that is there all the same, because of what this layer has in it, is an
//     implied one. A whiteout makes no directories.
//   - Of several entries of a name in one layer the last one counts.
//   - A directory over a directory keeps what is in it and gets new metadata; everything else is replaced.
//   - Parents that are symlinks are followed, never out of the tree. A parent that is another file is an error.
//   - A hard link is a further name of what has its target's name at that moment, also of a file of a lower
//     layer; its own metadata mean nothing. The target's parents are followed, the target itself is not.
//   - ".." in a name is taken away with what stands before it; a name that leads out of the tree is an error.
//   - Names that begin with ".wh..wh." are aufs's own, and mean nothing but for the opaque whiteout.
//
// Where composefs-rs 0.9 flattens an image the result is the same, with these exceptions: there whiteouts also
// remove what the same layer brought before them, an entry of a tar older than POSIX whose name ends in a slash is a
// file, and symlinks may have targets that no kernel takes. Missing and symlinked parents it refuses.
//
// # Transforms
//
// [Canonical] is what makes the digest of an image independent of how its root came to be: no layer need
// have an entry for the root directory, and a mounted one has other times in /run. [Bootable] prepares the
// tree of an operating system. Both are composefs-rs's, in effect, and change the tree in place.
//
// # Promises
//
// Input may be hostile: nothing leads out of the tree, what a tree costs in memory is limited, and errors
// name layer, entry and place.
package flatten
