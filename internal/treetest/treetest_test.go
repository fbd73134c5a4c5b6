package treetest_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/treetest"
	"github.com/go-composefs/composefs/tree"
)

func random(seed uint64, opts treetest.Options) *tree.Inode {
	return treetest.Random(rand.New(rand.NewPCG(seed, 0)), opts)
}

func TestSameSeedGivesSameTree(t *testing.T) {
	for _, opts := range []treetest.Options{{}, {Peer: true}, {Plain: true}, {Real: true}} {
		if !reflect.DeepEqual(random(1, opts), random(1, opts)) {
			t.Errorf("%+v: two trees", opts)
		}
	}
}

func TestTreesAreValid(t *testing.T) {
	for seed := range uint64(20) {
		for _, opts := range []treetest.Options{
			{},
			{Peer: true},
			{Plain: true},
			{Real: true, Objects: treetest.Objects{}},
			{Algorithm: fsverity.SHA512, Entries: 500, Depth: 100},
		} {
			checkTree(t, random(seed, opts), opts)
		}
	}
}

func checkTree(t *testing.T, root *tree.Inode, opts treetest.Options) {
	t.Helper()
	own := map[*tree.Inode]int{}
	entries := 0
	for path, e := range tree.Walk(root) {
		entries++
		n := e.Inode
		if !e.Link {
			own[n]++
		} else if own[n] == 0 {
			own[n] = 0
		}
		if err := checkInode(n, opts); err != nil {
			t.Fatalf("%q: %v", path, err)
		}
	}
	for n, count := range own {
		if count != 1 {
			t.Fatalf("an inode of mode %o has %d own places", n.Mode, count)
		}
	}
	if opts.Entries != 0 && entries < opts.Entries {
		t.Fatalf("%d entries, %d were asked for", entries, opts.Entries)
	}
}

func checkInode(n *tree.Inode, opts treetest.Options) error {
	byName := func(a, b tree.Xattr) int { return strings.Compare(a.Name, b.Name) }
	switch {
	case !slices.IsSortedFunc(n.Xattrs, byName):
		return fmt.Errorf("attributes are not sorted: %q", n.Xattrs)
	case n.XattrCost() > tree.MaxXattrCost:
		return fmt.Errorf("attributes cost %d", n.XattrCost())
	case len(n.Content) > tree.MaxInline || len(n.Content) > 0 && uint64(len(n.Content)) != n.Size:
		return fmt.Errorf("%d bytes of content, size %d", len(n.Content), n.Size)
	case n.IsRegular() && n.Size > tree.MaxExternalSize:
		return fmt.Errorf("size %d", n.Size)
	case n.IsSymlink() && (n.Target == "" || len(n.Target) > tree.MaxTarget):
		return fmt.Errorf("target of %d bytes", len(n.Target))
	case n.Mtime.Nsec >= 1e9:
		return fmt.Errorf("mtime %v", n.Mtime)
	case opts.Plain && n.IsWhiteout():
		return fmt.Errorf("whiteout in a plain tree")
	}
	for _, x := range n.Xattrs {
		if x.Name == "" || len(x.Name) > tree.MaxXattrName || strings.Contains(x.Name, "\x00") {
			return fmt.Errorf("attribute %q", x.Name)
		}
		if opts.Plain && strings.Contains(x.Name, "overlay") {
			return fmt.Errorf("attribute %q in a plain tree", x.Name)
		}
	}
	if opts.Objects != nil && n.IsExternal() && uint64(len(opts.Objects[n.Digest])) != n.Size {
		return fmt.Errorf("no object of %d bytes for the digest", n.Size)
	}
	return nil
}

// A generator that lost half of its kinds would let every test pass that uses it.
func TestEverythingHappens(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(60) {
		for _, e := range tree.Walk(random(seed, treetest.Options{})) {
			n := e.Inode
			seen[fmt.Sprintf("type %o", n.Type())] = true
			seen["link"] = seen["link"] || e.Link
			seen["whiteout"] = seen["whiteout"] || n.IsWhiteout()
			seen["device of some size"] = seen["device of some size"] || n.IsDevice() && n.Size > 0
			seen["largest file"] = seen["largest file"] || n.Size == tree.MaxExternalSize
			seen["most inline content"] = seen["most inline content"] || len(n.Content) == tree.MaxInline
			seen["longest name"] = seen["longest name"] || len(e.Name) == tree.MaxName
			seen["longest target"] = seen["longest target"] || len(n.Target) == tree.MaxTarget
			seen["most attributes"] = seen["most attributes"] || n.XattrCost() == tree.MaxXattrCost
			seen["no backing"] = seen["no backing"] || n.NoBacking
			seen["backing"] = seen["backing"] || n.Backing != ""
			seen["before 1970"] = seen["before 1970"] || n.Mtime.Sec < 0
		}
	}
	for what, happened := range seen {
		if !happened {
			t.Errorf("never seen: %s", what)
		}
	}
	if types := len(seen) - 11; types != 7 {
		t.Errorf("%d types of files, want 7", types)
	}
}
