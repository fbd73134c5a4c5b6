package erofs_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

func digestOf(t testing.TB, alg fsverity.Algorithm, content []byte) fsverity.Digest {
	t.Helper()
	h, err := fsverity.NewHasher(fsverity.Options{Algorithm: alg})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Write(content); err != nil {
		t.Fatal(err)
	}
	return h.Digest()
}

// storedTree returns a tree that can be read in full, and its store.
func storedTree(t testing.TB) (*tree.Inode, fstest.MapFS) {
	t.Helper()
	store := fstest.MapFS{}
	root := &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 1}
	add := func(name string, n *tree.Inode) *tree.Inode {
		t.Helper()
		dir, err := tree.Resolve(root, path.Dir("/"+name))
		if err != nil {
			t.Fatal(err)
		}
		if n.Nlink == 0 {
			n.Nlink = 1
		}
		if err := dir.Add(tree.Entry{Name: path.Base(name), Inode: n}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	file := func(name, content string, alg fsverity.Algorithm) *tree.Inode {
		digest := digestOf(t, alg, []byte(content))
		store[digest.ObjectPath()] = &fstest.MapFile{Data: []byte(content)}
		return add(name, &tree.Inode{Mode: tree.TypeRegular | 0o644, Size: uint64(len(content)), Digest: digest})
	}
	dir := func(name string) *tree.Inode { return add(name, &tree.Inode{Mode: tree.TypeDir | 0o755}) }
	link := func(name, target string) { add(name, &tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: target}) }

	dir("etc")
	file("etc/hosts", strings.Repeat("127.0.0.1 localhost\n", 500), fsverity.SHA256)
	hosts, _ := tree.Resolve(root, "etc/hosts")
	hosts.SetXattr("user.a", "b")
	hosts.SetXattr("trusted.overlay.opaque", "of the tree")
	add("etc/inline", &tree.Inode{Mode: tree.TypeRegular | 0o4755, Size: 5, Content: []byte("hello"), UID: 7, Mtime: tree.Timespec{Sec: 100, Nsec: 5}})
	add("etc/empty", &tree.Inode{Mode: tree.TypeRegular})
	add("etc/big-inline", &tree.Inode{Mode: tree.TypeRegular | 0o600, Size: 5000, Content: bytes.Repeat([]byte("x"), 5000)})
	if err := root.Add(tree.Entry{Name: "hardlink", Inode: hosts, Link: true}); err != nil {
		t.Fatal(err)
	}
	backed := file("etc/backed", "content elsewhere", fsverity.SHA256)
	backed.Backing = "some/where"
	store["some/where"] = &fstest.MapFile{Data: []byte("content elsewhere")}
	dir("00")
	file("00/not-a-stub", strings.Repeat("n", 70), fsverity.SHA256)
	dir("many")
	for i := range 600 {
		add(fmt.Sprintf("many/%03d-%s", i, strings.Repeat("n", i%40)), &tree.Inode{Mode: tree.TypeRegular | 0o644})
	}
	dir("links")
	link("links/relative", "../etc/hosts")
	link("links/absolute", "/etc/hosts")
	link("links/out", "../../../../etc/inline")
	link("links/dir", "/links/../etc")
	link("links/long", strings.Repeat("./", 2000)+"relative")
	dir("special")
	add("special/fifo", &tree.Inode{Mode: tree.TypeFIFO | 0o600})
	add("special/socket", &tree.Inode{Mode: tree.TypeSocket | 0o600})
	add("special/block", &tree.Inode{Mode: tree.TypeBlock | 0o600, Rdev: 0x10305})
	add("special/whiteout", &tree.Inode{Mode: tree.TypeChar | 0o600})
	return root, store
}

func imageOf(t testing.TB, root *tree.Inode, format erofs.Format) *erofs.Image {
	t.Helper()
	var image bytes.Buffer
	if _, err := erofs.Write(&image, root, erofs.WriteOptions{Format: format}); err != nil {
		t.Fatal(err)
	}
	return openImage(t, image.Bytes())
}

func TestFSPassesTestFS(t *testing.T) {
	root, store := storedTree(t)
	for _, format := range []erofs.Format{erofs.FormatV0, erofs.FormatV1, erofs.FormatV2} {
		t.Run(format.String(), func(t *testing.T) {
			if format == erofs.FormatV2 {
				clampToV2(root)
			}
			view := imageOf(t, root, format).FS(erofs.FSOptions{Objects: store, Verify: true})
			if err := fstest.TestFS(view, "etc/hosts", "etc/inline", "00/not-a-stub", "special/whiteout", "many/599-"+strings.Repeat("n", 39)); err != nil {
				t.Error(err)
			}
		})
	}
}

// The view shows what Tree loads.
func TestFSShowsTheTree(t *testing.T) {
	for seed := range uint64(30) {
		for _, format := range []erofs.Format{erofs.FormatV0, erofs.FormatV1} {
			img := imageOf(t, randomTree(seed), format)
			root, err := img.Tree(erofs.TreeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			compareView(t, img.FS(erofs.FSOptions{}), root)
		}
	}
}

func compareView(t *testing.T, view *erofs.FS, root *tree.Inode) {
	t.Helper()
	nodes := map[string]*tree.Inode{}
	links := map[*tree.Inode]int{}
	for p, e := range tree.Walk(root) {
		name := strings.TrimPrefix(string(p), "/")
		if name == "" {
			name = "."
		}
		nodes[name] = e.Inode
		links[e.Inode]++
	}
	err := fs.WalkDir(view, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		want := nodes[name]
		if want == nil {
			t.Errorf("%q is not in the tree", name)
			return nil
		}
		delete(nodes, name)
		info, err := view.Lstat(name)
		if err != nil {
			return err
		}
		node, ok := info.Sys().(*tree.Inode)
		if !ok {
			t.Fatalf("Sys returns %T", info.Sys())
		}
		got := *node
		expected := *want
		expected.Children, expected.Content = nil, nil
		if want.IsDir() {
			// Where a file of the tree looks like a whiteout, Tree sees more than an inode tells.
			expected.Xattrs, got.Xattrs = withoutMarks(expected.Xattrs), withoutMarks(got.Xattrs)
		}
		// A hard-linked whiteout shows where it has its own place only.
		if links[want] == 1 || want.Type() != tree.TypeChar && !masked(want) {
			if diff := cmp.Diff(expected, got, cmp.Comparer(func(a, b fsverity.Digest) bool { return a == b })); diff != "" {
				t.Errorf("%q: (-tree +view)\n%s", name, diff)
			}
			if d.Type() != info.Mode().Type() {
				t.Errorf("%q: the entry has type %v, the file %v", name, d.Type(), info.Mode().Type())
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range nodes {
		t.Errorf("%q is not in the view", name)
	}
}

func withoutMarks(xattrs []tree.Xattr) []tree.Xattr {
	var rest []tree.Xattr
	for _, x := range xattrs {
		if !strings.HasSuffix(x.Name, ".overlay.whiteouts") {
			rest = append(rest, x)
		}
	}
	return rest
}

// masked says whether a node has the look of a whiteout that the writer has escaped.
func masked(n *tree.Inode) bool {
	_, ok := n.Xattr("trusted.overlay.whiteout")
	return ok
}

func TestFSFollowsLinksWithinTheImage(t *testing.T) {
	root, store := storedTree(t)
	loop := &tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: "/loop", Nlink: 1}
	if err := root.Add(tree.Entry{Name: "loop", Inode: loop}); err != nil {
		t.Fatal(err)
	}
	view := imageOf(t, root, erofs.FormatV1).FS(erofs.FSOptions{Objects: store})
	want := strings.Repeat("127.0.0.1 localhost\n", 500)
	for _, name := range []string{"links/relative", "links/absolute", "links/dir/hosts", "links/long", "hardlink"} {
		if got, err := fs.ReadFile(view, name); err != nil || string(got) != want {
			t.Errorf("%s: got %d bytes, %v", name, len(got), err)
		}
	}
	if got, err := fs.ReadFile(view, "links/out"); err != nil || string(got) != "hello" {
		t.Errorf("links/out: got %q, %v", got, err)
	}
	for name, want := range map[string]error{
		"loop": nil, "etc/hosts/x": tree.ErrNotDir, "absent": fs.ErrNotExist, "01": fs.ErrNotExist,
		"../etc": fs.ErrInvalid, "/etc": fs.ErrInvalid, "etc/": fs.ErrInvalid, "": fs.ErrInvalid,
	} {
		_, err := view.Stat(name)
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%q: got error %v, want %v", name, err, want)
		}
	}
}

func TestFSInodeTellsHardLinksFromSymlinks(t *testing.T) {
	root, _ := storedTree(t)
	view := imageOf(t, root, erofs.FormatV1).FS(erofs.FSOptions{})
	nid := func(name string, follow bool) uint64 {
		t.Helper()
		in, err := view.Inode(name, follow)
		if err != nil {
			t.Fatal(err)
		}
		return in.Nid
	}
	hosts := nid("etc/hosts", false)
	if got := nid("hardlink", false); got != hosts {
		t.Errorf("a hard link has nid %d, the file %d", got, hosts)
	}
	if got := nid("links/dir/hosts", false); got != hosts {
		t.Errorf("through a symlink the nid is %d, not %d", got, hosts)
	}
	if got := nid("links/relative", true); got != hosts {
		t.Errorf("following a symlink gives nid %d, not %d", got, hosts)
	}
	if got := nid("links/relative", false); got == hosts {
		t.Error("a symlink has the nid of its target")
	}
	if _, err := view.Inode("nowhere", true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such file: %v", err)
	}
}

func TestFSRefusesWrongObjects(t *testing.T) {
	content := bytes.Repeat([]byte("content"), 1000)
	digest := digestOf(t, fsverity.SHA512, content)
	plain := func() *tree.Inode {
		return &tree.Inode{Mode: tree.TypeRegular | 0o644, Nlink: 1, Size: 7000, Digest: digest}
	}
	changed := bytes.Clone(content)
	changed[6999]++
	for _, c := range []struct {
		name   string
		node   func(*tree.Inode)
		object []byte
		alg    fsverity.Algorithm
		ok     bool // without Verify
		good   bool // with Verify
	}{
		{name: "good", object: content, ok: true, good: true},
		{name: "changed", object: changed, ok: true},
		{name: "longer", object: append(bytes.Clone(content), 0)},
		{name: "missing"},
		{name: "other block size", object: content, alg: fsverity.SHA512x64, ok: true},
		{name: "no digest", node: func(n *tree.Inode) { n.Digest, n.Backing = fsverity.Digest{}, digest.ObjectPath() }, object: content, ok: true},
		{name: "no place", node: func(n *tree.Inode) { n.NoBacking = true }, object: content},
		{name: "slashes", node: func(n *tree.Inode) { n.Backing = "//" + digest.ObjectPath() }, object: content, ok: true, good: true},
		{name: "out of the store", node: func(n *tree.Inode) { n.Backing = "x/../../" + digest.ObjectPath() }, object: content},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := plain()
			if c.node != nil {
				c.node(n)
			}
			root := &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 1, Children: []tree.Entry{{Name: "f", Inode: n}}}
			store := t.TempDir()
			if c.object != nil {
				file := filepath.Join(store, digest.ObjectPath())
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, c.object, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			img := imageOf(t, root, erofs.FormatV1)
			for _, verify := range []bool{false, true} {
				view := img.FS(erofs.FSOptions{Objects: os.DirFS(store), Verify: verify, Algorithm: c.alg})
				want := c.ok
				if verify {
					want = c.good
				}
				f, err := view.Open("f")
				if (err == nil) != want {
					t.Errorf("verify %v: open: %v", verify, err)
				}
				if err == nil {
					if _, err := io.Copy(io.Discard, f); err != nil {
						t.Error(err)
					}
					f.Close()
				}
				if _, err := view.ReadFile("f"); (err == nil) != want {
					t.Errorf("verify %v: read file: %v", verify, err)
				}
				if _, err := view.Stat("f"); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestReadFileRefusesHugeSparseFiles(t *testing.T) {
	sum := sha256.Sum256(nil)
	digest, _ := fsverity.DigestFromBytes(sum[:])
	n := &tree.Inode{Mode: tree.TypeRegular | 0o644, Nlink: 1, Size: 1 << 50, Digest: digest}
	root := &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 1, Children: []tree.Entry{{Name: "f", Inode: n}}}
	var image bytes.Buffer
	if _, err := erofs.Write(&image, root, erofs.WriteOptions{Format: erofs.FormatV0}); err != nil {
		t.Fatal(err)
	}
	foreign := image.Bytes()
	clear(foreign[:32]) // without the composefs header its 2^50 bytes are a hole
	if _, err := openImage(t, foreign).FS(erofs.FSOptions{}).ReadFile("f"); err == nil {
		t.Error("no error")
	}
}

// An image serves many goroutines at once (run with -race).
func TestConcurrentReaders(t *testing.T) {
	root, store := storedTree(t)
	view := imageOf(t, root, erofs.FormatV1).FS(erofs.FSOptions{Objects: store, Verify: true})
	var group errgroup.Group
	for range 8 {
		group.Go(func() error {
			return fs.WalkDir(view, ".", func(name string, d fs.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() {
					return err
				}
				_, err = view.ReadFile(name)
				return err
			})
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}
