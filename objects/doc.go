// Package objects keeps a directory of content-addressed objects, the store that composefs
// images share.
//
// # Layout
//
//	STORE/
//	  3a/7f0c…        an object: a regular file, mode 0644, named by its fs-verity digest:
//	  e1/90b2…        first byte, slash, the other bytes, in hex
//	  .tmp-XXXXXXXXXXXX  an object being written, on filesystems without O_TMPFILE
//
// It is the layout of mkcomposefs's digest store and of the objects directory of a composefs-rs
// repository.
//
// # Promises
//
// An object is hashed while it is written, and what is hashed is what is stored. It has no name
// until it is complete. Objects are durable after [Dir.Sync], which a writer of images calls
// once, before the image appears. Put takes an object that is there already for good only
// after looking at it, and replaces one that is not what its name says.
//
// A [Dir] is safe for concurrent use, by goroutines and by processes.
package objects
