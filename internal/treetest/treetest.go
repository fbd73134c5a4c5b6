// Package treetest makes random trees for tests. They are valid, and as unpleasant as valid
// trees can be: odd names, hard links that stand before their inode's own place, sizes around
// every boundary of the image format, attributes that overlayfs gives a meaning to.
//
// The same seed and options give the same tree, so a test names the seed of a failure. The
// zero [Options] ask for everything; its fields take away what one kind of test cannot use:
//
//	tree ─► dump ─► tree         nothing
//	against the C programs       Peer
//	tree ─► image ─► tree        Plain
//	tree ─► directory ─► tree    Real, with Objects for the contents
package treetest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// Options restrict what a random tree may contain.
type Options struct {
	Entries   int                // about how many names; 0 means 200
	Depth     int                // directories in each other; 0 means 8
	Algorithm fsverity.Algorithm // of the digests; zero means SHA-256

	// Peer leaves out what the C programs refuse or crash on although it is valid:
	// attributes whose rewriting overflows their counter, and text lines that get too long.
	Peer bool

	// Plain leaves out what an image does not give back as it was: whiteouts, attributes in
	// overlayfs's names, sizes of special files, link counts of directories that are not 2
	// plus their subdirectories, and links that do not stand in the order of [tree.SettleLinks].
	Plain bool

	// Real leaves out what root cannot make on an ordinary filesystem. Link counts are the
	// numbers of names; those of directories are 1, and so is what [tree.Scan] tells.
	Real bool

	// Objects, if not nil, receives the contents of all external files, which are then small.
	Objects Objects
}

// Objects holds the contents of external files by their digests.
type Objects map[fsverity.Digest][]byte

// OpenObject returns the content of n, as a [tree.Opener] does.
func (o Objects) OpenObject(n *tree.Inode) (io.ReadCloser, error) {
	data, ok := o[n.Digest]
	if !ok {
		return nil, fmt.Errorf("object %s: %w", n.Digest, tree.ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// Random returns a random tree. It panics if opts.Algorithm is not valid.
func Random(rng *rand.Rand, opts Options) *tree.Inode {
	if opts.Entries == 0 {
		opts.Entries = 200
	}
	if opts.Depth == 0 {
		opts.Depth = 8
	}
	if opts.Algorithm == (fsverity.Algorithm{}) {
		opts.Algorithm = fsverity.SHA256
	}
	hasher, err := fsverity.NewHasher(fsverity.Options{Algorithm: opts.Algorithm})
	if err != nil {
		panic("treetest: " + err.Error())
	}
	g := &generator{Rand: rng, Options: opts, hasher: hasher}
	root := &tree.Inode{Mode: tree.TypeDir}
	g.metadata(root)
	g.dirs = []level{{dir: root}}
	for range opts.Entries {
		g.entry()
	}
	g.links()
	if opts.Plain || opts.Real {
		tree.SettleLinks(root)
	}
	g.countLinks(root)
	return root
}

type generator struct {
	*rand.Rand
	Options
	hasher *fsverity.Hasher
	dirs   []level
	files  []*tree.Inode // all that can have further names
}

type level struct {
	dir   *tree.Inode
	depth int
}

func pick[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

// often is true in most cases.
func (g *generator) often() bool { return g.IntN(8) != 0 }

// place returns a directory and a name that is free in it. Half of the names go to the
// directory made last, so that trees get deep and some directories large.
func (g *generator) place() (level, string) {
	for {
		at := g.dirs[len(g.dirs)-1]
		if g.IntN(2) == 0 {
			at = g.dirs[g.IntN(len(g.dirs))]
		}
		name := g.name()
		if _, taken := at.dir.Find(name); !taken {
			return at, name
		}
	}
}

func (g *generator) add(dir *tree.Inode, e tree.Entry) {
	if err := dir.Add(e); err != nil {
		panic("treetest: " + err.Error())
	}
}

func (g *generator) entry() {
	at, name := g.place()
	kind := pick[uint32](g, tree.TypeRegular, tree.TypeRegular, tree.TypeRegular, tree.TypeRegular,
		tree.TypeSymlink, tree.TypeDir, tree.TypeDir, tree.TypeChar, tree.TypeBlock, tree.TypeFIFO, tree.TypeSocket)
	if kind == tree.TypeDir && at.depth+1 >= g.Depth {
		kind = tree.TypeRegular
	}
	n := &tree.Inode{Mode: kind}
	g.metadata(n)
	switch kind {
	case tree.TypeRegular:
		g.content(n)
	case tree.TypeSymlink:
		n.Target = g.target()
		n.Size = uint64(len(n.Target))
	case tree.TypeChar, tree.TypeBlock:
		n.Rdev = pick[uint32](g, 0, 0, 1, 0x10769, 1<<20, 1<<31, 1<<32-1)
		if g.Plain && n.Rdev == 0 {
			n.Rdev = 0x103
		}
	}
	if !g.Plain && !g.Real && kind != tree.TypeRegular && kind != tree.TypeDir && kind != tree.TypeSymlink && !g.often() {
		n.Size = pick[uint64](g, 1, 4096, 1<<32-1, 1<<32) // decides the form of the inode
	}
	g.add(at.dir, tree.Entry{Name: name, Inode: n})
	if kind == tree.TypeDir {
		g.dirs = append(g.dirs, level{n, at.depth + 1})
	} else {
		g.files = append(g.files, n)
	}
}

// links gives some files further names anywhere, so that some come before their own place.
func (g *generator) links() {
	if len(g.files) == 0 {
		return
	}
	for range g.Entries / 12 {
		at, name := g.place()
		g.add(at.dir, tree.Entry{Name: name, Inode: g.files[g.IntN(len(g.files))], Link: true})
	}
}

// countLinks sets link counts that follow from the tree, or for others than plain and real
// trees sometimes any number.
func (g *generator) countLinks(root *tree.Inode) {
	names := map[*tree.Inode]uint32{}
	var order []*tree.Inode // a map's own order is not the same in two runs
	for _, e := range tree.Walk(root) {
		if names[e.Inode]++; names[e.Inode] == 1 {
			order = append(order, e.Inode)
		}
	}
	for _, n := range order {
		n.Nlink = names[n]
		switch {
		case n.IsDir() && g.Real:
			n.Nlink = 1
		case n.IsDir():
			n.Nlink = 2
			for _, e := range n.Children {
				if e.Inode.IsDir() {
					n.Nlink++
				}
			}
		case !g.Plain && !g.Real && !g.often():
			n.Nlink = pick[uint32](g, 0, 1, 65535, 65536, 1<<32-1)
		}
	}
}

func (g *generator) name() string {
	switch g.IntN(10) {
	case 0: // around "." and "..", and names that images use themselves
		return pick(g, "!", "+", "-", "-x", "...", "..a", ".a", "00", "0a", "a0", "ff", "fg", "~", "\x01", "\xff")
	case 1: // what text formats must escape
		return pick(g, "a b", " ", "a\nb", "\t", "\r", `a\b`, `\x41`, "a=b", "=", "@x", "\x7f", "#", "é", "日本", "\xff\xfe", "a\xc3")
	case 2:
		length := pick(g, 1, 2, 128, 254, 255)
		return strings.Repeat(pick(g, "n", "N", "\xf0"), length-1) + string(rune('a'+g.IntN(26)))
	}
	return fmt.Sprintf("%s%d", pick(g, "f", "file-", "x", "Z", "lib.so."), g.IntN(10*g.Entries))
}

func (g *generator) target() string {
	switch g.IntN(4) {
	case 0:
		return pick(g, "/", ".", "..", "-", "\\x2d", " ", "a b\n", "\xff\xfe", "../../etc/passwd", "//x")
	case 1: // around the room that is left in a block beside the inode
		return strings.Repeat("t", pick(g, 1000, 1023, 1024, 2047, 2048, 3900, 4000, 4030, 4031, 4032, 4033, 4063, 4064, 4094, 4095))
	}
	return strings.Repeat("../", g.IntN(5)) + "usr/lib/" + g.name()[:1]
}
