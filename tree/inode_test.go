package tree_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/treetest"
	"github.com/go-composefs/composefs/tree"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "...", "-", " ", "\xff", strings.Repeat("x", 255)} {
		if err := tree.CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "/", "a\x00", strings.Repeat("x", 256)} {
		if err := tree.CheckName(name); !errors.Is(err, tree.ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestAddKeepsByteOrder(t *testing.T) {
	names := []string{"b", "\xff", "a", "a.b", "ab", "a-b", "Z", "é", "!", "0"}
	dir := newDir()
	for _, name := range names {
		must(t, dir.Add(tree.Entry{Name: name, Inode: newFile(name)}))
	}
	var got []string
	for _, e := range dir.Children {
		got = append(got, e.Name)
	}
	slices.Sort(names)
	if diff := cmp.Diff(names, got); diff != "" {
		t.Error(diff)
	}
	for _, name := range names {
		if n := dir.Lookup(name); n == nil || string(n.Content) != name {
			t.Errorf("%q is not found", name)
		}
	}
	if dir.Lookup("nothing") != nil || dir.Lookup("\xff\xff") != nil {
		t.Error("found what is not there")
	}
}

func TestAddRefuses(t *testing.T) {
	dir := newDir()
	must(t, dir.Add(tree.Entry{Name: "a", Inode: newFile("")}))
	if err := dir.Add(tree.Entry{Name: "a", Inode: newFile("")}); !errors.Is(err, tree.ErrExist) {
		t.Errorf("second a: %v", err)
	}
	if err := dir.Add(tree.Entry{Name: "..", Inode: newFile("")}); !errors.Is(err, tree.ErrName) {
		t.Errorf("..: %v", err)
	}
	if err := newFile("").Add(tree.Entry{Name: "a", Inode: newFile("")}); !errors.Is(err, tree.ErrNotDir) {
		t.Errorf("in a file: %v", err)
	}
	if len(dir.Children) != 1 {
		t.Errorf("%d children", len(dir.Children))
	}
}

func TestRemove(t *testing.T) {
	dir := newDir()
	for _, name := range []string{"a", "b", "c"} {
		must(t, dir.Add(tree.Entry{Name: name, Inode: newFile("")}))
	}
	if !dir.Remove("b") || dir.Remove("b") || dir.Remove("") {
		t.Error("Remove does not say what it did")
	}
	if dir.Lookup("a") == nil || dir.Lookup("b") != nil || dir.Lookup("c") == nil {
		t.Error("other children are left than should be")
	}
}

func TestResolve(t *testing.T) {
	root := build(t, []string{"/a", "/a/b", "/a/b/file", "/link"}, []*tree.Inode{
		newDir(), newDir(), newFile(""), {Mode: tree.TypeSymlink, Target: "a"},
	})
	for path, want := range map[string]error{
		"": nil, "/": nil, "//": nil, "a/b/file": nil, "/a//b/file": nil, "a/b/": nil,
		"x": tree.ErrNotFound, "a/x/y": tree.ErrNotFound, "/a/./b": tree.ErrNotFound, "/a/..": tree.ErrNotFound,
		"a/b/file/x": tree.ErrNotDir, "link/b": tree.ErrNotDir,
	} {
		n, err := tree.Resolve(root, path)
		if !errors.Is(err, want) || (n == nil) != (want != nil) {
			t.Errorf("%q: %v, %v", path, n, err)
		}
	}
	if n, err := tree.Resolve(root, "/"); n != root || err != nil {
		t.Errorf("the root's path gives %v, %v", n, err)
	}
}

func TestInodePredicates(t *testing.T) {
	digest := digestOf(t, []byte("x"))
	for _, test := range []struct {
		n    tree.Inode
		want string
	}{
		{tree.Inode{Mode: tree.TypeDir}, "dir"},
		{tree.Inode{Mode: tree.TypeRegular}, "regular"},
		{tree.Inode{Mode: tree.TypeRegular, Size: 1, Content: []byte("x")}, "regular"},
		{tree.Inode{Mode: tree.TypeRegular, Size: 1}, "regular external"},
		{tree.Inode{Mode: tree.TypeRegular, Size: 1, Digest: digest}, "regular external " + digest.ObjectPath()},
		{tree.Inode{Mode: tree.TypeRegular, Size: 1, Digest: digest, Backing: "b"}, "regular external b"},
		{tree.Inode{Mode: tree.TypeRegular, Size: 1, Digest: digest, NoBacking: true}, "regular external"},
		{tree.Inode{Mode: tree.TypeSymlink}, "symlink"},
		{tree.Inode{Mode: tree.TypeChar}, "device whiteout"},
		{tree.Inode{Mode: tree.TypeChar, Rdev: 1}, "device"},
		{tree.Inode{Mode: tree.TypeBlock}, "device"},
		{tree.Inode{Mode: tree.TypeFIFO | 0o777}, ""},
		{tree.Inode{Mode: tree.TypeSocket}, ""},
	} {
		var got []string
		for _, p := range []struct {
			name string
			is   bool
		}{
			{"dir", test.n.IsDir()},
			{"regular", test.n.IsRegular()},
			{"symlink", test.n.IsSymlink()},
			{"device", test.n.IsDevice()},
			{"whiteout", test.n.IsWhiteout()},
			{"external", test.n.IsExternal()},
			{test.n.BackingPath(), test.n.BackingPath() != ""},
		} {
			if p.is {
				got = append(got, p.name)
			}
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("%+v is %q, want %q", test.n, s, test.want)
		}
	}
	n := tree.Inode{Mode: tree.TypeDir | 0o7123}
	if n.Type() != tree.TypeDir || n.Perm() != 0o7123 {
		t.Errorf("type %o, permissions %o", n.Type(), n.Perm())
	}
}

func TestTimespecCompare(t *testing.T) {
	times := []tree.Timespec{{Sec: -2, Nsec: 5}, {Sec: -1}, {}, {Nsec: 1}, {Sec: 1}}
	for i, a := range times {
		for j, b := range times {
			if got, want := a.Compare(b), min(max(i-j, -1), 1); got != want {
				t.Errorf("%v and %v: %d", a, b, got)
			}
		}
	}
}

func TestWalkVisitsInOrderAndStops(t *testing.T) {
	root := build(t, []string{"/a", "/a/x", "/a.b", "/b", "/b/c", "/b/c/d"}, []*tree.Inode{
		newDir(), newFile(""), newFile(""), newDir(), newDir(), newFile(""),
	})
	want := []string{"/", "/a", "/a/x", "/a.b", "/b", "/b/c", "/b/c/d"}
	for stop := range want {
		var got []string
		for path, e := range tree.Walk(root) {
			got = append(got, string(path))
			if n, err := tree.Resolve(root, string(path)); err != nil || n != e.Inode {
				t.Fatalf("%s: another inode", path)
			}
			if len(got) == stop+1 {
				break
			}
		}
		if diff := cmp.Diff(want[:stop+1], got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestSettleLinks(t *testing.T) {
	for seed := range uint64(20) {
		root := treetest.Random(rand.New(rand.NewPCG(seed, 4)), treetest.Options{})
		tree.SettleLinks(root)
		met := map[*tree.Inode]bool{}
		for path, e := range tree.Walk(root) {
			if e.Link != met[e.Inode] {
				t.Fatalf("seed %d: %q: link is %v", seed, path, e.Link)
			}
			met[e.Inode] = true
		}
	}
}

// After a removal all names that are left may say that they are links.
func TestSettleLinksFindsANewPlace(t *testing.T) {
	n := newFile("")
	root := build(t, []string{"/a", "/b", "/c"}, []*tree.Inode{n, n, n})
	root.Remove("a")
	tree.SettleLinks(root)
	if b, c := root.Children[0], root.Children[1]; b.Link || !c.Link {
		t.Errorf("b is a link: %v; c: %v", b.Link, c.Link)
	}
}

func TestXattrs(t *testing.T) {
	var n tree.Inode
	want := map[string]string{}
	rng := rand.New(rand.NewPCG(1, 5))
	for range 500 {
		name := fmt.Sprint("user.", rng.IntN(30))
		_, had := want[name]
		if rng.IntN(3) == 0 {
			delete(want, name)
			if n.RemoveXattr(name) != had {
				t.Fatalf("removing %s says it was not as it was", name)
			}
			continue
		}
		want[name] = fmt.Sprint(rng.Int())
		n.SetXattr(name, want[name])
	}
	got := map[string]string{}
	for i, x := range n.Xattrs {
		got[x.Name] = x.Value
		if i > 0 && n.Xattrs[i-1].Name >= x.Name {
			t.Errorf("%q stands before %q", n.Xattrs[i-1].Name, x.Name)
		}
		if v, ok := n.Xattr(x.Name); v != x.Value || !ok {
			t.Errorf("%s is %q, %v", x.Name, v, ok)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if v, ok := n.Xattr("user.nothing"); ok {
		t.Errorf("found %q", v)
	}
}

func TestXattrCost(t *testing.T) {
	var n tree.Inode
	if n.XattrCost() != 0 {
		t.Errorf("none cost %d", n.XattrCost())
	}
	n.SetXattr("user.ab", "xyz")
	n.SetXattr("a", "")
	if want := 12 + 7 + 7 + 3 + 7 + 1; n.XattrCost() != want {
		t.Errorf("cost %d, want %d", n.XattrCost(), want)
	}
}

func BenchmarkWalk(b *testing.B) {
	root := treetest.Random(rand.New(rand.NewPCG(1, 1)), treetest.Options{Entries: 10_000, Algorithm: fsverity.SHA256})
	b.ReportAllocs()
	for b.Loop() {
		count := 0
		for range tree.Walk(root) {
			count++
		}
	}
}

func BenchmarkSettleLinks(b *testing.B) {
	root := treetest.Random(rand.New(rand.NewPCG(1, 1)), treetest.Options{Entries: 10_000})
	b.ReportAllocs()
	for b.Loop() {
		tree.SettleLinks(root)
	}
}
