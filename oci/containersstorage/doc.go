// Package containersstorage reads images out of the storage of podman, buildah, skopeo and CRI-O, without
// changing anything there.
//
// # Words
//
// The storage is a *graph root* and, read-only, *additional image stores* of the same form; which ones is
// said by storage.conf. A *driver* keeps the layers' files. An *image* is a record with names, a manifest
// and a configuration (its *big data*), and the uppermost of its *layers*, each of which names its parent.
// The files of a layer lie unpacked in its *diff directory*. Its *tar-split* has all of its tar except the
// files' content: raw bytes in turn with names, each with the CRC-64 that the content had. So the tar can be
// had back bit for bit, and large files as files, whose blocks another file can share.
//
// # Layout
//
//	GRAPHROOT/
//	  overlay-images/images.json      records of images
//	  overlay-images/images.lock      locked (fcntl) shared to read, exclusively to write
//	  overlay-images/ID/KEY           big data: manifest, configuration; a key with other characters than
//	                                  a-z, 0-9 and the dot is written as "=" and its base64
//	  overlay-layers/layers.json      records of layers
//	  overlay-layers/layers.lock      the same lock for layers and their files
//	  overlay-layers/ID.tar-split.gz  one JSON object a line
//	  overlay/ID/diff/…               the files, by name
//	  overlay/ID/composefs-data/composefs.blob
//	                                  or a composefs image with their names, if the driver was told to
//	                                  (use_composefs); those in diff/ are named by digest then
//	vfs/dir/ID/…                      the same for the driver vfs, where files of lower layers lie as well
//
// The source of the format is github.com/containers/storage, whose drivers overlay and vfs are read.
//
// # Why not that library
//
// It wants to be master of the storage: it opens it for writing, makes directories, starts itself again in a user
// namespace, and links drivers in C. Reading takes two lists, two documents and the tar-split, whose own
// module defines its entries.
//
// # Promises
//
// Whoever may write to the storage may be hostile to the reader: nothing leads out of the graph root or out of
// a diff directory, sizes are limited, and a loop of layers ends. Locks are taken as podman takes them, shared,
// and only as long as podman would hold them: while a list is read, and while the content of a layer is.
// A storage without lock files, or one that cannot be written to, is read without.
//
// A file that is not what it was is noticed by its size or its CRC-64, and named. That is no protection against
// deceit: the diff id of what was read is the caller's to check.
package containersstorage
