// Package objects keeps a directory of content-addressed objects, the store that composefs
// images share.
//
// # Layout
//
//	STORE/
//	  3a/7f0c…        an object: a regular file, mode 0644, named by its fs-verity digest:
//	  e1/90b2…        first byte, slash, the other bytes, in hex
//	  e1/.tmp-object-XXXXXXXXXXXX
//	                  an object being written, on filesystems without O_TMPFILE, or one that
//	                  is about to replace a broken one
//
// It is the layout of mkcomposefs's digest store and of the objects directory of a composefs-rs
// repository. Directories of objects are made when their first object comes.
//
// # Promises
//
// What is hashed is what is stored: small files are read once, into memory; larger ones are
// hashed again as they are copied, or, where the filesystem shares blocks, the copy is. An
// object has no name until it is complete, whatever fails meanwhile.
//
// Objects are durable after [Dir.Sync], which a writer of images calls once, before the image
// appears. What a power failure leaves of objects before that is found when they are put again:
// an object that is there already is taken for good only after its size and the kernel's digest
// of it, or its content, was compared, and is replaced if it is not what its name says.
//
// A [Dir] is safe for concurrent use, by goroutines and by processes.
package objects
