package tree_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/treetest"
	"github.com/go-composefs/composefs/tree"
)

// build makes a tree of paths, whose parents come first. The same inode under several paths
// is a hard link.
func build(t testing.TB, paths []string, inodes []*tree.Inode) *tree.Inode {
	t.Helper()
	root := newDir()
	met := map[*tree.Inode]bool{}
	for i, path := range paths {
		slash := strings.LastIndex(path, "/")
		dir, err := tree.Resolve(root, path[:slash])
		must(t, err)
		must(t, dir.Add(tree.Entry{Name: path[slash+1:], Inode: inodes[i], Link: met[inodes[i]]}))
		met[inodes[i]] = true
	}
	return root
}

func newDir() *tree.Inode { return &tree.Inode{Mode: tree.TypeDir | 0o755} }
func newFile(content string) *tree.Inode {
	return &tree.Inode{Mode: tree.TypeRegular | 0o644, Nlink: 1, Size: uint64(len(content)), Content: []byte(content)}
}

// differences returns the changes as lines.
func differences(a, b *tree.Inode) []string {
	var lines []string
	for c := range tree.Compare(a, b) {
		lines = append(lines, c.String())
	}
	return lines
}

func TestCompareNamesTheFields(t *testing.T) {
	digest := digestOf(t, []byte("abc"))
	external := func(n *tree.Inode) { n.Size, n.Content, n.Digest = 3, nil, digest }
	symlink := func(n *tree.Inode) { n.Mode, n.Content, n.Target = tree.TypeSymlink|0o777, nil, "a" }
	device := func(n *tree.Inode) { n.Mode, n.Content, n.Size = tree.TypeChar|0o644, nil, 0 }
	for _, test := range []struct {
		before, change func(*tree.Inode)
		want           string
	}{
		{nil, func(n *tree.Inode) { n.Mode = tree.TypeFIFO | 0o644 }, "type"},
		{nil, func(n *tree.Inode) { n.Mode |= 0o4000 }, "mode"},
		{nil, func(n *tree.Inode) { n.GID = 1 }, "owner"},
		{nil, func(n *tree.Inode) { n.Mtime.Nsec = 1 }, "mtime"},
		{nil, func(n *tree.Inode) { n.Content = []byte("abd") }, "content"},
		{nil, func(n *tree.Inode) { n.Content, n.Size = []byte("ab"), 2 }, "size content"},
		{nil, external, "stored"},
		{external, func(n *tree.Inode) { n.Digest = digestOf(t, []byte("x")) }, "content"},
		{external, func(n *tree.Inode) { n.Backing = "elsewhere" }, "stored"},
		{external, func(n *tree.Inode) { n.Backing = digest.ObjectPath() }, ""},
		{external, func(n *tree.Inode) { n.NoBacking = true }, "stored"},
		{external, func(n *tree.Inode) { n.Digest = fsverity.Digest{} }, "content"},
		{symlink, func(n *tree.Inode) { n.Target = "b" }, "target"},
		{symlink, func(n *tree.Inode) { n.Size = 77 }, ""},
		{nil, func(n *tree.Inode) { n.SetXattr("user.a", "") }, "xattrs"},
		{device, func(n *tree.Inode) { n.Rdev = 1 }, "rdev"},
		{nil, func(n *tree.Inode) { n.Nlink = 2 }, "nlink"},
		{nil, func(n *tree.Inode) { *n = tree.Inode{Mode: tree.TypeBlock, Rdev: 9, Mtime: tree.Timespec{Sec: 1}} }, "type mode mtime"},
	} {
		a, b := newFile("abc"), newFile("abc")
		if test.before != nil {
			test.before(a)
			test.before(b)
		}
		test.change(b)
		var want []string
		if test.want != "" {
			want = []string{`changed "/f": ` + test.want}
		}
		for range 2 {
			got := differences(build(t, []string{"/f"}, []*tree.Inode{a}), build(t, []string{"/f"}, []*tree.Inode{b}))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("want %q: %s", test.want, diff)
			}
			a, b = b, a
		}
	}
}

func TestCompareListsWholeSubtreesInOrder(t *testing.T) {
	a := build(t, []string{"/a", "/both", "/d", "/d/x", "/d/x/y", "/d.", "/to-dir"},
		[]*tree.Inode{newFile("a"), newFile("same"), newDir(), newDir(), newFile(""), newFile(""), newFile("")})
	b := build(t, []string{"/b", "/b/c", "/both", "/d", "/d/z", "/d.", "/to-dir", "/to-dir/in"},
		[]*tree.Inode{newDir(), newFile("a"), newFile("same"), newDir(), newFile(""), newFile(""), newDir(), newFile("")})
	b.Mode |= 0o2000
	a.Lookup("d").Size, a.Lookup("d").Nlink = 4096, 3 // derived
	want := []string{
		`changed "/": mode`,
		`removed "/a"`, `added "/b"`, `added "/b/c"`,
		`removed "/d/x"`, `removed "/d/x/y"`, `added "/d/z"`,
		`changed "/to-dir": type mode`, `added "/to-dir/in"`,
	}
	if diff := cmp.Diff(want, differences(a, b)); diff != "" {
		t.Error(diff)
	}
	for range tree.Compare(a, b) {
		break // the iterator must bear it
	}
}

func TestCompareSeesHardLinks(t *testing.T) {
	x, y := newFile("same"), newFile("same")
	group := func(inodes ...*tree.Inode) *tree.Inode {
		return build(t, []string{"/1", "/2", "/3", "/4"}[:len(inodes)], inodes)
	}
	swapped := group(x, x, y, y)
	for i := range swapped.Children {
		swapped.Children[i].Link = !swapped.Children[i].Link // another own place
	}
	for _, test := range []struct {
		name string
		a, b *tree.Inode
		want []string
	}{
		{"equal", group(x, x, y, y), group(y, y, x, x), nil},
		{"own place", group(x, x, y, y), swapped, nil},
		{"regrouped", group(x, x, y, y), group(x, y, x, y), []string{`changed "/2": links`, `changed "/3": links`}},
		{"split", group(x, x), group(x, y), []string{`changed "/2": links`}},
		{"joined", group(x, y), group(x, x), []string{`changed "/2": links`}},
		{"lost a name", group(x, x), group(x), []string{`removed "/2"`}},
	} {
		got := differences(test.a, test.b)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

func TestCompareFindsEachChangeOfARandomTree(t *testing.T) {
	for seed := range uint64(50) {
		random := func() *tree.Inode { return treetest.Random(rand.New(rand.NewPCG(seed, 1)), treetest.Options{}) }
		a, b := random(), random()
		if got := differences(a, b); got != nil {
			t.Fatalf("seed %d: the same tree differs: %q", seed, got)
		}
		var paths []string
		for path, e := range tree.Walk(b) {
			if !e.Link && e.Inode.Nlink < 2 {
				paths = append(paths, string(path))
			}
		}
		path := paths[rand.New(rand.NewPCG(seed, 2)).IntN(len(paths))]
		n, err := tree.Resolve(b, path)
		must(t, err)
		n.Mtime.Sec++
		for _, line := range differences(a, b) {
			if !strings.HasSuffix(line, ": mtime") {
				t.Errorf("seed %d: %s", seed, line)
			}
		}
		if got := differences(a, b); len(got) == 0 || got[0] != fmt.Sprintf("changed %q: mtime", path) && len(got) == 1 {
			t.Errorf("seed %d: %q changed, got %q", seed, path, got)
		}
	}
}

func TestCompareDeepTrees(t *testing.T) {
	deep := func() *tree.Inode {
		root := newDir()
		at := root
		for range 20_000 {
			below := newDir()
			must(t, at.Add(tree.Entry{Name: "d", Inode: below}))
			at = below
		}
		return root
	}
	if got := differences(deep(), deep()); got != nil {
		t.Errorf("%d differences", len(got))
	}
}

func TestChangeAsJSON(t *testing.T) {
	a, b := newDir(), newDir()
	must(t, a.Add(tree.Entry{Name: "\xff", Inode: newFile("a")}))
	must(t, b.Add(tree.Entry{Name: "\xff", Inode: newFile("bc")}))
	var got []byte
	for c := range tree.Compare(a, b) {
		var err error
		got, err = json.Marshal(c)
		must(t, err)
	}
	want := `{"path":"/\ufffd","path_base64":"L/8=","kind":"changed","fields":["size","content"],"old_size":1,"new_size":2}`
	if string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func BenchmarkCompare(b *testing.B) {
	random := func() *tree.Inode {
		return treetest.Random(rand.New(rand.NewPCG(1, 1)), treetest.Options{Entries: 10_000})
	}
	x, y := random(), random()
	b.ReportAllocs()
	for b.Loop() {
		for c := range tree.Compare(x, y) {
			b.Fatal(c)
		}
	}
}
