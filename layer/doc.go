// Package layer takes a tar apart: the content of its files into a store, the rest into a file tree,
// and, if it is wanted back bit for bit, into a splitstream.
//
// # Words
//
// A tar is a sequence of entries, each of one or more headers of 512 bytes, and of content that is
// padded to 512. Extended headers (pax, GNU) come before the header whose fields they replace. After
// the entries come two blocks of zeros and padding to the size of a record.
//
//	┌──────────┬────────┬─────────┬─────────┬────────┬─────────┬───┬───────┬─────────┐
//	│ extended │ header │ content │ padding │ header │ content │ … │ zeros │ padding │
//	└──────────┴────────┴─────────┴─────────┴────────┴─────────┴───┴───────┴─────────┘
//	  inline     inline   object    inline    inline   inline        inline  inline
//
// The content of a regular file of more than 64 bytes is an object, both for the tree and for the
// splitstream; everything else is inline there. composefs-rs 0.9 has the same limit, and refuses a
// splitstream that has another one.
//
// # Layers of container images
//
// A layer is a tar that is put on top of others: it may remove what they have, and link to it, so that
// a tree of its own is not what it means. [Read] takes it apart without one (Options.NoTree), and [Entries] tells
// later from the splitstream what it has, without the objects. Package oci/flatten makes a tree of several.
//
// # Promises
//
// The tree is what a scan of the directory would find that tar(1) makes of the archive as root, with
// the times, owners, attributes and links that the archive has: so both give the same image. Entries may
// come in any order and more than once; of a name the last one counts, and a directory over a directory
// keeps what is in it. Directories without an entry of their own have mode 0755, owner 0 and time 0. The
// names of whiteouts mean nothing here.
//
// Input may be hostile: nothing leads out of the tree, neither ".." nor a link; memory grows with the
// number of entries, which is limited, and not with their sizes, and without a tree with neither; errors name
// the entry and where it is in the archive.
package layer
