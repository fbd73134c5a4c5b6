// Package splitstream reads and writes splitstreams, the files in which a composefs-rs repository
// keeps tar layers, image configurations and other byte streams.
//
// # Words
//
// A stream is any sequence of bytes that is wanted back bit for bit. Its chunks are inline,
// bytes that lie in the splitstream, or external, all bytes of an object of the store. Of a tar
// layer the large files are external, shared with every image that has them; headers, padding and
// small files are inline and compress well. An object ref is an object that chunks may use. A
// stream ref is another splitstream, or an image, that this one needs; a named ref is a stream
// ref with a name that means something to the content type, such as a layer's diff id.
//
// # Layout
//
//	┌────────┬──────┬─────────────┬─────────────┬────────────┬────────┐
//	│ header │ info │ stream_refs │ object_refs │ named_refs │ stream │
//	└────────┴──────┴─────────────┴─────────────┴────────────┴────────┘
//	0        32     112           digests       digests      zstd     zstd
//
//	header                                  info
//	 0 11  "SplitStream"                     0 16  where stream_refs are: start, end
//	11  1  version, 0                       16 16  where object_refs are
//	12  2  flags, ignored                   32 16  where the stream is
//	14  1  hash: 1 SHA-256, 2 SHA-512       48 16  where named_refs are
//	15  1  log2 of its block size, 12       64  8  content type
//	16 16  where info is: start, end        72  8  size of the reassembled stream
//
//	named_refs, decompressed: INDEX ":" NAME NUL ...    INDEX into stream_refs, decimal
//	stream, decompressed:     int64, bytes ...          n < 0: -n inline bytes follow
//	                                                    n >= 0: object_refs[n]
//
// Integers are little-endian, places are bytes from the start of the file. Sections may lie in
// any order; info may grow. bootc until 1.15 wrote the header's fields in another order, which is
// read and not written: info at 0, flags at 16, magic at 18, then version, hash and block size.
//
// # Promises
//
// The source of the format is composefs-rs 0.9, whose files this package reads, and which reads
// this package's. Equal calls of a [Writer] make equal files as long as the compressor's version is
// the same; composefs-rs compresses the same stream to other bytes, so that the name of a
// splitstream identifies it only inside one repository.
//
// Input may be hostile: memory is bounded whatever a file says, places and indexes are checked,
// and nothing follows the decompressor further than the promised size. A [Reader] is safe for
// concurrent use if its io.ReaderAt is; a [Writer] is not.
package splitstream
