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
// What is hashed is what is stored: small files are read once, into memory; larger ones share their
// blocks with the object where the filesystem can do that, else the kernel copies them, else they are
// read and written; then the copy is hashed again. An object has no name until it is complete,
// whatever fails meanwhile.
//
// Objects are durable after [Dir.Sync], which a writer of images calls once, before the image
// appears. What a power failure leaves of objects before that, and what has been damaged by
// accident, is found when the object is put again, and replaced. An object that is there already
// is taken for good if it has the right size and
//
//   - the kernel's word: it has fs-verity and the digest that its name says, or
//   - the seal: it was stored by this package, and its modification time and the space it takes
//     say that nobody has written to it since; the nanoseconds of that time are a number taken
//     from the digest, or
//   - the content that is to be stored: it is compared.
//
// The seal saves reading every object that a new image shares with older ones. It is no protection
// against deceit, which only fs-verity and [Dir.Verify] are; [Options] can do without it.
//
// A [Dir] is safe for concurrent use, by goroutines and by processes.
package objects
