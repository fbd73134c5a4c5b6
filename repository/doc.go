// Package repository keeps composefs images, the objects that they share, and streams from which
// layers and manifests can be had back, in one directory that many processes use at once.
//
// # Layout
//
//	REPO/
//	  meta.json            version, hash algorithm, features, image formats
//	  objects/3a/7f0c…     content, named by its fs-verity digest; see package objects
//	  images/HEX        -> ../objects/3a/7f0c…     an EROFS image is an object too
//	  images/refs/NAME  -> ../HEX                  a name that people gave an image
//	  streams/ID        -> ../objects/e1/90b2…     a splitstream, by the id of its content
//	  streams/refs/NAME -> ../ID                   a name of a stream
//	  leases/ID            what running transactions and lease holders rely on
//	  leases/.lock         locks of this package's processes, see below
//	  quarantine/HEX       what Repair took out of use
//	  filecache            which files were imported, see FileCache
//	  checkstate           how far an interrupted Check was
//	  stores.json          paths of other stores
//
// It is the layout of composefs-rs 0.9, whose programs open the same directory; leases and
// quarantine are ours, and not looked at by others. Names may contain slashes; a ref's link then
// has one more "../" for each.
//
// # What stays
//
// A ref keeps an image or a stream, an image keeps its objects, a stream keeps the objects and
// streams that it names. A lease keeps what it lists. What somebody has open as an image, above
// all the kernel for a mount, stays as well. [Repository.Collect] removes the rest, while all
// others go on.
//
// # Transactions
//
// A [Transaction] is how anything gets in. Its objects have no names until they are complete; on
// Commit everything is made durable by one sync, and only then images, streams and refs appear,
// in this order. A crash leaves objects that nothing refers to, which the next collection removes.
//
// # Locks
//
// A transaction writes the digest of each object into its lease before it looks whether the
// object is there. Then it passes the gate: it takes and drops a shared lock on a byte of
// leases/.lock, which stands for the object's directory. The collector reads the leases with that
// byte locked exclusively, and unlinks what no lease lists before it lets go. So whatever the
// transaction finds behind the gate stays. Collectors remove things only with the directory's lock, so
// that nobody needs to pass a gate who has that lock shared.
//
//	byte 0 to 255    gates of objects/00 to objects/ff
//	byte 256         one collector at a time
//	byte 257         a collector wants the directory's lock
//	byte 258         it has not got it yet, or not any more
//	byte 259         shared: links are made; exclusive: links are removed
//
// Processes of composefs-rs know one lock, flock(2) on the repository's directory: shared by
// everybody who has it open, exclusive for their collector. Transactions hold it shared. Our
// collector needs it exclusively before it removes anything, which proves that none of theirs
// relies on what goes; the transactions of this package step aside for it, for the collector's
// lock keeps the other collector out as well as theirs did.
package repository
