package erofs_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// randomTree makes a tree that has a bit of everything, often at a boundary.
func randomTree(seed uint64) *tree.Inode {
	g := &treeGen{Rand: rand.New(rand.NewPCG(seed, 7))}
	root := g.inode(tree.TypeDir, 0)
	for _, link := range g.links {
		g.link(link)
	}
	return root
}

type treeGen struct {
	*rand.Rand
	dirs  []*tree.Inode
	files []*tree.Inode
	links []*tree.Inode
	count int
}

func pick[T any](g *treeGen, of ...T) T { return of[g.IntN(len(of))] }

func (g *treeGen) name() string {
	switch g.IntN(8) {
	case 0:
		return pick(g, "!", "-", "+x", ".hidden", "...", "..a", "00", "0a", "ff", "fg", "~", "\xff\xfe", "a b", "a\nb")
	case 1:
		return strings.Repeat("n", pick(g, 1, 200, 254, 255))
	}
	return fmt.Sprintf("%s%d", pick(g, "f", "file-", "x", "Z"), g.IntN(200))
}

func (g *treeGen) stat(n *tree.Inode) {
	n.Mode |= uint32(pick(g, 0o644, 0o755, 0o7777, 0, 0o444))
	n.UID = pick[uint32](g, 0, 0, 0, 1000, 65535, 65536, 1<<32-1)
	n.GID = pick[uint32](g, 0, 0, 1000, 65536)
	n.Nlink = pick[uint32](g, 1, 1, 1, 2, 65536)
	n.Mtime = pick(g, tree.Timespec{}, tree.Timespec{}, tree.Timespec{Sec: 1}, tree.Timespec{Sec: -5, Nsec: 7}, tree.Timespec{Sec: 1 << 40, Nsec: 999999999})
}

func (g *treeGen) attrs(n *tree.Inode) {
	if g.IntN(2) == 0 {
		n.SetXattr("security.selinux", pick(g, "system_u:object_r:etc_t:s0\x00", "label", ""))
	}
	for range max(0, g.IntN(6)-2) {
		name := pick(g, "user.", "user.a", "user.b", "trusted.x", "trusted.overlay.whiteout", "trusted.overlay.opaque", "trusted.overlay.redirect",
			"trusted.overlay.metacopy", "trusted.overlay.overlay.x", "user.overlay.whiteout", "user.overlay.whiteouts", "user.overlay.opaque",
			"trusted.overlay.whiteouts", "trusted.", "trusted.overlay.", "foo", "lustre.x", "system.posix_acl_access",
			"system.posix_acl_accessZ", "system.posix_acl_default", "security.capability", "user."+strings.Repeat("k", 250))
		n.SetXattr(name, pick(g, "", "x", "y", "same", "same", strings.Repeat("v", g.IntN(300)), fmt.Sprint(g.Uint32())))
	}
	if g.IntN(60) == 0 {
		for i := range 140 {
			n.SetXattr(fmt.Sprintf("user.many.%03d", i), "v")
		}
	}
}

func (g *treeGen) inode(kind uint32, depth int) *tree.Inode {
	n := &tree.Inode{Mode: kind}
	g.stat(n)
	g.attrs(n)
	g.count++
	switch kind {
	case tree.TypeDir:
		g.dirs = append(g.dirs, n)
		g.fill(n, depth)
		return n
	case tree.TypeSymlink:
		n.Target = strings.Repeat("t", pick(g, 1, 10, 100, 1000, 3900, 4000, 4030, 4031, 4032, 4033, 4064, 4095))
		n.Size = uint64(len(n.Target))
	case tree.TypeChar, tree.TypeBlock:
		n.Rdev = pick[uint32](g, 0, 0, 1, 0x10769, 1<<32-1)
		n.Size = pick[uint64](g, 0, 0, 0, 5, 1<<33)
	case tree.TypeFIFO, tree.TypeSocket:
		n.Size = pick[uint64](g, 0, 0, 1<<33)
	case tree.TypeRegular:
		g.content(n)
	}
	g.files = append(g.files, n)
	if g.IntN(6) == 0 {
		g.links = append(g.links, n)
	}
	return n
}

func (g *treeGen) content(n *tree.Inode) {
	switch g.IntN(3) {
	case 0:
		n.Size = pick[uint64](g, 0, 1, 64, 2000, 2047, 2048, 2049, 4095, 4096, 4097, 5000)
		n.Content = bytes.Repeat([]byte{byte(g.IntN(3))}, int(n.Size))
		return
	case 1:
		n.Size = pick[uint64](g, 1, 4096, 4097, 70000, 1<<31, 1<<32, 1<<43, 1<<43+1, 5<<43, 1016<<43, 1017<<43, 1<<53)
	case 2:
		n.Size = 1 + g.Uint64N(1<<40)
	}
	if g.IntN(8) != 0 {
		sum := sha256.Sum256(fmt.Append(nil, g.IntN(50)))
		n.Digest, _ = fsverity.DigestFromBytes(sum[:])
	}
	switch g.IntN(6) {
	case 0:
		n.Backing = pick(g, "abc", "/abs", "path/of/four", strings.Repeat("p", 4095), "f")
	case 1:
		n.NoBacking = !n.Digest.IsZero()
	}
}

func (g *treeGen) fill(dir *tree.Inode, depth int) {
	count := g.IntN(12)
	if g.IntN(10) == 0 {
		count = g.IntN(400)
	}
	for range count {
		if g.count > 600 {
			return
		}
		name := g.name()
		if _, taken := dir.Find(name); taken {
			continue
		}
		kind := pick[uint32](g, tree.TypeRegular, tree.TypeRegular, tree.TypeRegular, tree.TypeSymlink, tree.TypeChar, tree.TypeBlock, tree.TypeFIFO, tree.TypeSocket, tree.TypeDir, tree.TypeDir)
		if kind == tree.TypeDir && depth > 6 {
			continue
		}
		if err := dir.Add(tree.Entry{Name: name, Inode: g.inode(kind, depth+1)}); err != nil {
			panic(err)
		}
	}
}

// link puts further names of an inode anywhere, so that some come before its own place.
func (g *treeGen) link(n *tree.Inode) {
	for range 1 + g.IntN(3) {
		dir, name := g.dirs[g.IntN(len(g.dirs))], g.name()
		if _, taken := dir.Find(name); taken {
			continue
		}
		if err := dir.Add(tree.Entry{Name: name, Inode: n, Link: true}); err != nil {
			panic(err)
		}
	}
}

// image -> tree -> image is the identity for what Write writes, in every format.
func TestTreeIsFixedPoint(t *testing.T) {
	for seed := range uint64(150) {
		root := randomTree(seed)
		for _, format := range []erofs.Format{erofs.FormatV0, erofs.FormatV1, erofs.FormatV2} {
			if format == erofs.FormatV2 {
				clampToV2(root)
			}
			var image bytes.Buffer
			if _, err := erofs.Write(&image, root, erofs.WriteOptions{Format: format}); err != nil {
				t.Fatalf("seed %d, %s: %v", seed, format, err)
			}
			t.Run(fmt.Sprintf("%d/%s", seed, format), func(t *testing.T) { checkFixedPoint(t, image.Bytes()) })
			if t.Failed() {
				return
			}
		}
	}
}

// clampToV2 shortens what V2 images cannot hold.
func clampToV2(root *tree.Inode) {
	for _, e := range tree.Walk(root) {
		n := e.Inode
		n.Target = n.Target[:min(len(n.Target), 1024)]
		if len(n.Content) > 512 {
			n.Content, n.Size = n.Content[:512], 512
		}
	}
}

// A tree without what an image does not keep comes back as it was.
func TestTreeComesBackFromItsImage(t *testing.T) {
	for seed := range uint64(80) {
		root := plainTree(seed)
		for _, format := range []erofs.Format{erofs.FormatV0, erofs.FormatV1} {
			var image bytes.Buffer
			if _, err := erofs.Write(&image, root, erofs.WriteOptions{Format: format}); err != nil {
				t.Fatal(err)
			}
			got := loadTree(t, image.Bytes())
			if diff := cmp.Diff(describeTree(root), describeTree(got)); diff != "" {
				t.Fatalf("seed %d, %s: (-written +read)\n%s", seed, format, diff)
			}
		}
	}
}

// plainTree is a random tree without names and attributes that mean something to overlayfs.
func plainTree(seed uint64) *tree.Inode {
	root := randomTree(seed)
	for _, e := range tree.Walk(root) {
		n := e.Inode
		n.Xattrs = slices.DeleteFunc(n.Xattrs, func(x tree.Xattr) bool { return strings.Contains(x.Name, "overlay") })
		if n.IsDevice() && n.Rdev == 0 {
			n.Mode = tree.TypeBlock | n.Perm()
		}
	}
	return root
}

// describeTree is a text of all that is in a tree but the sizes and link counts that follow
// from the rest. Hard links are told by the first path of an inode.
func describeTree(root *tree.Inode) []string {
	var lines []string
	first := map[*tree.Inode]string{}
	for path, e := range tree.Walk(root) {
		n := e.Inode
		if p, seen := first[n]; seen {
			lines = append(lines, fmt.Sprintf("%q = %q", path, p))
			continue
		}
		first[n] = string(path)
		size, nlink := n.Size, n.Nlink
		if !n.IsRegular() {
			size = 0
		}
		if n.IsDir() {
			nlink = 0
		}
		backing := n.BackingPath()
		lines = append(lines, fmt.Sprintf("%q mode %o size %d nlink %d %d:%d rdev %d mtime %v target %q content %q digest %s backing %q %q",
			path, n.Mode, size, nlink, n.UID, n.GID, n.Rdev, n.Mtime, n.Target, n.Content, n.Digest, backing, n.Xattrs))
	}
	return lines
}
