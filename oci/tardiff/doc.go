// Package tardiff reads and writes tar-diffs, which make a tar out of the files of an older image and
// of what is new, and the oci-delta artifacts that carry them.
//
// # Words
//
// The old image is a file tree that the receiver has; of it only the content of regular files is used,
// named by path. The new tar is a layer, uncompressed. A delta is a list of operations that are followed
// in order, each of which writes a part of the new tar, or says where in the old image the next one reads:
//
//	open  P     the source is the file P from now on, at its start
//	seek  N     the source's place is byte N
//	copy  N     write N bytes of the source
//	add   N …   write N bytes: those of the source plus those that follow, each modulo 256
//	data  N …   write the N bytes that follow
//	patch N …   write what the N bytes that follow, a zstd frame, make of the whole source (version 2)
//
// Add is what makes deltas of programs small: where an address has moved, most bytes of the difference
// are zero, and the others repeat.
//
// # Layout
//
//	"tardf1\n\0"   8 bytes; version 2 begins with "tardf2\n\0"
//	zstd frames    of operations: one byte (data 0, open 1, copy 2, add 3, seek 4, patch 5), a size in the
//	               encoding of [encoding/binary.Uvarint], and as many bytes unless it is copy or seek
//
// The source of the format is file-format.md of github.com/containers/tar-diff, and for version 2 that
// module's tests and the crate of github.com/containers/oci-delta. Version 1 is what this package writes:
// composefs-rs 0.9 reads nothing else. The module itself is not used: it keeps up to 200 MiB for one operation, and
// neither the size of the tar nor the number of operations is limited there.
//
// # Promises
//
// A delta may be hostile: sizes, counts and the decompressor's memory are limited before anything is
// allocated, paths lead nowhere but beneath the root of the old image, and errors say which operation
// failed where. [Apply] writes to its writer as it reads, keeps nothing, and needs a few hundred kilobytes
// beside the decompressor's window, and for a patch the source. What it writes is only worth something if
// its digest is the layer's diff id: the caller has to check that.
//
// [Create] makes the same delta of the same input whatever the number of jobs is.
package tardiff
