// Package fsverity computes, enables and measures fs-verity digests: the names that composefs
// gives to file contents and to images.
//
// # Words
//
// A digest is the hash of a descriptor, and the descriptor holds the root hash of a Merkle tree
// over the file's blocks (Documentation/filesystems/fsverity.rst):
//
//	level 0   │ block 0 │ block 1 │ block 2 │ … │ last, zero padded │   the data
//	               │         │
//	level 1   │ hash 0, hash 1, hash 2, …       │ …, zero padded    │   blocks of hashes
//	               │
//	   …           until a level has one block; its hash is the root hash
//
//	descriptor, 256 bytes, integers little-endian (struct fsverity_descriptor):
//
//	    0  1  version, 1
//	    1  1  hash: 1 SHA-256, 2 SHA-512
//	    2  1  log2 of the block size: 12 or 16
//	    3  1  length of the salt
//	    4  4  zero
//	    8  8  size of the data in bytes
//	   16 64  root hash, then zeros
//	   80 32  salt, then zeros
//	  112 144 zero
//
// For data of one block the root hash is that block's; for no data it is zero bytes. A salt,
// padded to the input block of the hash, is hashed before every block.
//
// Composefs uses SHA-256 or SHA-512, blocks of 4 KiB, no salt. The 64 KiB blocks and salts are
// here because the kernel has them too.
//
// # Kernel and user space
//
// [Enable] makes the kernel check a file from then on; [Measure] asks what it checks; [Sum],
// [File] and [Hasher] compute the same digest without the kernel's help. A signature that the
// kernel checks is over [FormattedDigest]; [Signature] reads the one that a file has. All functions are safe for concurrent use; a [Hasher]
// is not.
package fsverity
