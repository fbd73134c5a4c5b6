package erofs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// ProblemKind tells problems apart. The strings are stable.
type ProblemKind string

// The kinds of problems.
const (
	ProblemSuper       ProblemKind = "superblock"       // a field of the superblock
	ProblemHeader      ProblemKind = "header"           // the composefs header
	ProblemRead        ProblemKind = "read"             // the image could not be read there
	ProblemUnsupported ProblemKind = "unsupported"      // a note: this was not checked
	ProblemInode       ProblemKind = "inode"            // a field of an inode
	ProblemLayout      ProblemKind = "layout"           // where an inode's data lies
	ProblemChunks      ProblemKind = "chunks"           // the chunk table of a file
	ProblemChunkSpill  ProblemKind = "chunk-spill"      // a note: the table is not where EROFS wants it
	ProblemSymlink     ProblemKind = "symlink"          // the target of a symlink
	ProblemDirectory   ProblemKind = "directory"        // a block of a directory, or its order
	ProblemDirent      ProblemKind = "dirent"           // one entry: name, type, or where it leads
	ProblemDirLink     ProblemKind = "directory-linked" // a directory is in several places
	ProblemNlink       ProblemKind = "nlink"            // the link count; a note where only a tree can tell
	ProblemXattr       ProblemKind = "xattr"            // an attribute or its area
	ProblemXattrOrder  ProblemKind = "xattr-order"      // attributes out of order or there twice
	ProblemXattrFilter ProblemKind = "xattr-filter"     // the name filter hides an attribute
	ProblemXattrShared ProblemKind = "xattr-shared"     // a shared id, or the shared table
	ProblemOverlap     ProblemKind = "overlap"          // two parts claim the same bytes
	ProblemSpace       ProblemKind = "space"            // bytes that belong to nothing are not zero
	ProblemOverlay     ProblemKind = "overlay"          // overlayfs's attributes of a composefs image
	ProblemStub        ProblemKind = "stub"             // the entries 00 to ff of the root
	ProblemWhiteout    ProblemKind = "whiteout"         // a whiteout where the format has none
	ProblemObject      ProblemKind = "object-missing"   // an object is not in the store
	ProblemObjectSize  ProblemKind = "object-size"      // an object has another size
	ProblemDigest      ProblemKind = "object-digest"    // an object has another digest
	ProblemCanonical   ProblemKind = "canonical"        // a note: the tree has another image
	ProblemMore        ProblemKind = "more"             // the last one: there are more than MaxProblems
)

// Problem is one thing that is wrong with an image. As JSON it has the keys kind, detail, and
// where they apply path, nid, offset and note.
type Problem struct {
	Kind   ProblemKind
	Path   string // empty if it concerns no one file
	Nid    uint64 // or NoNid
	Offset int64  // in the image, or -1
	Detail string
	// Note says that this makes the image no worse: tools that report "fine" or "broken"
	// leave it out of account.
	Note bool
}

// String describes the problem in one line.
func (p Problem) String() string {
	return describe(string(p.Kind), p.Path, p.Nid, p.Offset, p.Detail)
}

// MarshalJSON implements [json.Marshaler].
func (p Problem) MarshalJSON() ([]byte, error) {
	out := struct {
		Kind   ProblemKind `json:"kind"`
		Path   string      `json:"path,omitempty"`
		Nid    *uint64     `json:"nid,omitempty"`
		Offset *int64      `json:"offset,omitempty"`
		Detail string      `json:"detail"`
		Note   bool        `json:"note,omitempty"`
	}{Kind: p.Kind, Path: p.Path, Detail: p.Detail, Note: p.Note}
	if p.Nid != NoNid {
		out.Nid = &p.Nid
	}
	if p.Offset >= 0 {
		out.Offset = &p.Offset
	}
	return json.Marshal(out)
}

// CheckOptions say what [Image.Check] looks at besides the image.
type CheckOptions struct {
	// Objects is the store's object directory. If given, each external file must have an
	// object of its size there.
	Objects fs.FS
	// Verify compares the digests of the objects too, which reads all of them.
	Verify bool
	// Algorithm is that of the digests; see FSOptions.
	Algorithm fsverity.Algorithm
	// Jobs is how many objects are hashed at a time; 0 means GOMAXPROCS.
	Jobs int
	// MaxProblems bounds the output; 0 means 1000. Notes do not count: there are at most 10
	// of a kind, and one that counts the others.
	MaxProblems int
}

const maxNotes = 10

// Check looks at everything in the image, like a file system check, and goes through what is
// wrong with it. It does not stop at the first problem. An image that nothing but notes come
// of is sound: the kernel and this package agree on what it says. One of composefs without the
// note [ProblemCanonical] is what the writers of its format make of its tree, byte for byte.
//
// Problems of objects come last, in no particular order.
func (img *Image) Check(opts CheckOptions) iter.Seq[Problem] {
	return func(yield func(Problem) bool) {
		c := &checker{
			img: img, opts: opts, yield: yield,
			left:   opts.MaxProblems,
			notes:  map[ProblemKind]int{},
			byNid:  map[uint64]int{},
			shared: map[uint32]checkedXattr{},
			budget: loadFactor*img.win.size + 1<<20,
		}
		if c.left <= 0 {
			c.left = 1000
		}
		c.super()
		c.walk()
		c.counts()
		c.composefs()
		c.space()
		c.canonical()
		c.objects()
		c.moreNotes()
	}
}

// checker is one run of Check.
type checker struct {
	img   *Image
	opts  CheckOptions
	yield func(Problem) bool
	left  int // problems that may still be reported
	done  bool
	found bool // something that is no note
	notes map[ProblemKind]int

	inodes []checkedInode
	byNid  map[uint64]int
	budget uint64 // bytes of directories that may still be read, see loadFactor
	spans  []span

	attrs    []tree.Xattr            // of the inode being checked
	names    []string                // of these, sorted
	shared   map[uint32]checkedXattr // by id
	acl      bool                    // some inode has a POSIX ACL
	spills   int                     // inodes with a spilled chunk table
	earliest tree.Timespec
	stubs    map[string]int // entries 00 to ff of the root, as indexes of inodes
	external []externalFile
	// firstData is where data blocks begin; the shared attributes end before.
	firstData uint64
}

// checkedInode is an inode that some entry leads to.
type checkedInode struct {
	nid     uint64
	parent  int // index of the directory of the first entry
	name    string
	mode    uint32 // 0 if it could not be read
	nlink   uint32
	ino     uint32
	refs    uint32 // entries, without "." and ".."
	subdirs uint32
}

// report is what finds a problem with inode number at, or with none if at is negative.
func (c *checker) report(kind ProblemKind, at int, offset uint64, format string, args ...any) {
	c.send(kind, false, at, offset, fmt.Sprintf(format, args...))
}

// note is report for what makes the image no worse.
func (c *checker) note(kind ProblemKind, at int, offset uint64, format string, args ...any) {
	c.send(kind, true, at, offset, fmt.Sprintf(format, args...))
}

func (c *checker) send(kind ProblemKind, note bool, at int, offset uint64, detail string) {
	if c.done {
		return
	}
	if note {
		if c.notes[kind]++; c.notes[kind] > maxNotes {
			return
		}
	}
	c.found = c.found || !note
	p := Problem{Kind: kind, Nid: NoNid, Offset: int64(offset), Detail: detail, Note: note}
	if at >= 0 {
		p.Nid, p.Path = c.inodes[at].nid, c.path(at)
	}
	if !note {
		c.left--
	}
	if c.left < 0 {
		c.done = true
		p = Problem{Kind: ProblemMore, Nid: NoNid, Offset: -1, Detail: "there are more problems"}
	}
	if !c.yield(p) {
		c.done = true
	}
}

// moreNotes says how many notes were left out.
func (c *checker) moreNotes() {
	for _, kind := range slices.Sorted(maps.Keys(c.notes)) {
		if more := c.notes[kind] - maxNotes; more > 0 && !c.done {
			c.done = !c.yield(Problem{Kind: kind, Nid: NoNid, Offset: -1, Note: true, Detail: fmt.Sprintf("%d more notes of this kind", more)})
		}
	}
}

// failed reports an error of reading; kind is for what is corrupt there.
func (c *checker) failed(kind ProblemKind, at int, err error) {
	var corrupt *CorruptError
	var unsupported *UnsupportedError
	switch {
	case errors.As(err, &corrupt):
		c.report(kind, at, uint64(corrupt.Offset), "%s", corrupt.Reason)
	case errors.As(err, &unsupported) && c.img.head.present:
		c.report(kind, at, noOffset, "%s", unsupported.Feature) // composefs has nothing of the kind
	case errors.As(err, &unsupported):
		c.note(ProblemUnsupported, at, noOffset, "%s", unsupported.Feature)
	default:
		c.report(ProblemRead, at, noOffset, "%v", err)
	}
}

// path returns the path of an inode by its first entry.
func (c *checker) path(at int) string {
	var names []string
	for at != 0 {
		names = append(names, c.inodes[at].name)
		at = c.inodes[at].parent
	}
	slices.Reverse(names)
	return "/" + strings.Join(names, "/")
}

// walk visits each inode once, breadth first.
func (c *checker) walk() {
	root, err := c.img.Root()
	if err != nil {
		c.failed(ProblemInode, -1, err)
		return
	}
	c.firstData = c.img.win.size
	c.earliest = root.Mtime
	c.stubs = map[string]int{}
	c.add(root, 0, "")
	for at := 0; at < len(c.inodes) && !c.done; at++ {
		if c.inodes[at].mode == 0 {
			continue // reported when its entry was read
		}
		var in Inode
		if err := c.img.readInode(c.inodes[at].nid, &in); err != nil {
			c.failed(ProblemInode, at, err)
			continue
		}
		c.inode(at, &in)
	}
}

// add notes an inode that is met for the first time.
func (c *checker) add(in *Inode, parent int, name string) int {
	at := len(c.inodes)
	c.byNid[in.Nid] = at
	c.inodes = append(c.inodes, checkedInode{
		nid: in.Nid, parent: parent, name: name,
		mode: in.Mode, nlink: in.Nlink, ino: in.Ino,
	})
	return at
}

// counts compares link counts with the entries that were met.
func (c *checker) counts() {
	for at := range c.inodes {
		n := &c.inodes[at]
		switch {
		case n.mode == 0:
		case n.mode&tree.TypeMask == tree.TypeDir:
			if want := n.subdirs + 2; n.nlink != want {
				c.report(ProblemNlink, at, noOffset, "the directory has %d links, %d by its subdirectories", n.nlink, want)
			}
		case n.nlink != n.refs && c.img.head.present:
			// Writers of composefs images record what they are told.
			c.note(ProblemNlink, at, noOffset, "the inode has %d links and %d entries", n.nlink, n.refs)
		case n.nlink != n.refs:
			c.report(ProblemNlink, at, noOffset, "the inode has %d links and %d entries", n.nlink, n.refs)
		}
	}
}
