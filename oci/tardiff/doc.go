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
//
// Add is what makes deltas of programs small: where an address has moved, most bytes of the difference
// are zero, and the others repeat.
//
// # Layout
//
//	"tardf1\n\0"   8 bytes
//	zstd frames    of operations: one byte (data 0, open 1, copy 2, add 3, seek 4), a size in the
//	               encoding of [encoding/binary.Uvarint], and for data, open and add as many bytes
//
// The source of the format is file-format.md of github.com/containers/tar-diff. Its second version
// ("tardf2") has another operation; composefs-rs 0.9 does not know it, and neither does this package. That
// module as a library would be the first choice, but it holds an open of two buffers of up to 100 MiB,
// takes every size from the delta, and is not served by every module proxy.
//
// # Promises
//
// A delta may be hostile: sizes, counts and the decompressor's memory are limited before anything is
// allocated, paths lead nowhere but beneath the root of the old image, and errors say which operation
// failed where. [Apply] writes to its writer as it reads, keeps nothing, and needs a few hundred kilobytes
// beside the decompressor's window. What it writes is only worth something if its digest is the layer's
// diff id: the caller has to check that.
//
// [Create] makes the same delta of the same input whatever the number of jobs is.
package tardiff
