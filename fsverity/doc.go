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
//	descriptor, 256 bytes: version 1, hash number, log2 of the block size, salt length,
//	4 zero bytes, u64 size of the data, root hash in 64 bytes, salt in 32, zeros
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
// [File] and [Hasher] compute the same digest without the kernel's help. All functions are safe
// for concurrent use; a [Hasher] is not.
package fsverity
