package tree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/internal/treetest"
	"github.com/go-composefs/composefs/tree"
)

func extract(t testing.TB, root *tree.Inode, dir string, objects tree.Opener, opts tree.ExtractOptions) error {
	t.Helper()
	f, err := os.Open(dir)
	must(t, err)
	defer f.Close()
	return tree.Extract(t.Context(), root, f, objects, opts)
}

// fileObjects gives contents as open files, as a store does.
type fileObjects struct {
	treetest.Objects
	dir string
}

func (o fileObjects) OpenObject(n *tree.Inode) (io.ReadCloser, error) {
	path := o.dir + "/" + n.Digest.String()
	if f, err := os.Open(path); err == nil {
		return f, nil
	}
	f, err := os.CreateTemp(o.dir, "new-*")
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(o.Objects[n.Digest]); err != nil {
		return nil, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return nil, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, err
}

// What is extracted is scanned as what it was.
func TestExtractedTreeScansAsTheTree(t *testing.T) {
	testenv.Root(t)
	for seed := range uint64(25) {
		objects := treetest.Objects{}
		root := treetest.Random(rand.New(rand.NewPCG(seed, 3)), treetest.Options{Real: true, Objects: objects})
		var opener tree.Opener = objects
		if seed%2 == 0 {
			opener = fileObjects{objects, t.TempDir()}
		}
		dir := t.TempDir()
		opts := tree.ExtractOptions{Jobs: int(seed % 5), NoVerify: seed%4 == 0}
		if err := extract(t, root, dir, opener, opts); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		got := scan(t, dir, tree.ScanOptions{Hardlinks: true, Jobs: int(seed % 5)})
		if diff := differences(root, got); diff != nil {
			t.Fatalf("seed %d: %s", seed, strings.Join(diff, "\n"))
		}
		apart := scan(t, dir, tree.ScanOptions{})
		if fmt.Sprint(names(apart)) != fmt.Sprint(names(root)) {
			t.Fatalf("seed %d: other names without hard links", seed)
		}
	}
}

func oneFile(t testing.TB, n *tree.Inode) *tree.Inode {
	t.Helper()
	return build(t, []string{"/dir", "/dir/file"}, []*tree.Inode{newDir(), n})
}

func external(t testing.TB, data []byte) *tree.Inode {
	t.Helper()
	return &tree.Inode{Mode: tree.TypeRegular | 0o644, Nlink: 1, Size: uint64(len(data)), Digest: digestOf(t, data)}
}

var asUser = tree.ExtractOptions{NoOwner: true, UserXattrs: true, SkipDevices: true}

func TestExtractRefusesWrongContent(t *testing.T) {
	data := bytes.Repeat([]byte("data"), 50_000)
	n := external(t, data)
	for name, wrong := range map[string][]byte{
		"one byte differs": append(slices.Clone(data[:len(data)-1]), 'x'),
		"shorter":          data[:len(data)-1],
		"longer":           append(slices.Clone(data), 0),
		"empty":            {},
	} {
		objects := treetest.Objects{n.Digest: wrong}
		for kind, opener := range map[string]tree.Opener{"stream": objects, "file": fileObjects{objects, t.TempDir()}} {
			for _, noVerify := range []bool{false, true} {
				if noVerify && len(wrong) == len(data) {
					continue // then only sizes are compared
				}
				dir := t.TempDir()
				opts := asUser
				opts.NoVerify = noVerify
				err := extract(t, oneFile(t, n), dir, opener, opts)
				if !errors.Is(err, tree.ErrDigestMismatch) || !strings.Contains(err.Error(), dir+"/dir/file:") {
					t.Errorf("%s, %s: got %v", name, kind, err)
				}
				if _, err := os.Lstat(dir + "/dir/file"); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s, %s: the file is there", name, kind)
				}
			}
		}
	}
}

// endless is an object without an end; it gives up after more than is reasonable.
type endless struct{ given int }

func (e *endless) OpenObject(*tree.Inode) (io.ReadCloser, error) { return io.NopCloser(e), nil }

func (e *endless) Read(p []byte) (int, error) {
	if e.given += len(p); e.given > 4<<20 {
		return 0, errors.New("read too far")
	}
	return len(p), nil
}

func TestExtractEndsWithAnEndlessObject(t *testing.T) {
	err := extract(t, oneFile(t, external(t, make([]byte, 1000))), t.TempDir(), &endless{}, asUser)
	if !errors.Is(err, tree.ErrDigestMismatch) {
		t.Errorf("got %v", err)
	}
}

func TestExtractVerifiesWithTheAlgorithmThatIsGiven(t *testing.T) {
	data := bytes.Repeat([]byte("data"), 50_000)
	for _, alg := range []fsverity.Algorithm{fsverity.SHA512, fsverity.SHA256x64, fsverity.SHA512x64} {
		digest, err := fsverity.Sum(alg, data)
		must(t, err)
		n := external(t, data)
		n.Digest = digest
		opts := asUser
		if alg != fsverity.SHA512 { // which the digest's length tells
			opts.Algorithm = alg
		}
		if err := extract(t, oneFile(t, n), t.TempDir(), treetest.Objects{digest: data}, opts); err != nil {
			t.Errorf("%v: %v", alg, err)
		}
	}
}

func TestExtractWithoutVerifyingTakesWhatThereIs(t *testing.T) {
	n := external(t, []byte("right"))
	opts := asUser
	opts.NoVerify = true
	for kind, opener := range map[string]tree.Opener{
		"stream": treetest.Objects{n.Digest: []byte("wrong")},
		"file":   fileObjects{treetest.Objects{n.Digest: []byte("wrong")}, t.TempDir()},
	} {
		dir := t.TempDir()
		must(t, extract(t, oneFile(t, n), dir, opener, opts))
		if got, err := os.ReadFile(dir + "/dir/file"); string(got) != "wrong" {
			t.Errorf("%s: got %q, %v", kind, got, err)
		}
	}
}

func TestExtractNeedsObjectsForExternalFiles(t *testing.T) {
	n := external(t, []byte("x"))
	if err := extract(t, oneFile(t, n), t.TempDir(), nil, asUser); !errors.Is(err, tree.ErrOptions) {
		t.Errorf("no opener gives %v", err)
	}
	err := extract(t, oneFile(t, n), t.TempDir(), treetest.Objects{}, asUser)
	if !errors.Is(err, tree.ErrNotFound) || !strings.Contains(err.Error(), "/dir/file") {
		t.Errorf("missing object gives %v", err)
	}
}

func TestExtractMakesHoles(t *testing.T) {
	size := int64(1 << 30)
	if testing.Short() {
		size = 16 << 20
	}
	store := t.TempDir()
	path := store + "/sparse"
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("middle"), size/2)
	must(t, err)
	must(t, f.Truncate(size))
	digest, err := fsverity.File(t.Context(), f, size, fsverity.FileOptions{})
	must(t, err)
	n := &tree.Inode{Mode: tree.TypeRegular | 0o644, Nlink: 1, Size: uint64(size), Digest: digest}
	for name, opts := range map[string]tree.ExtractOptions{
		"verified": asUser,
		"ranges":   {NoOwner: true, NoVerify: true},
	} {
		dir := t.TempDir()
		must(t, extract(t, oneFile(t, n), dir, openPath(path), opts))
		var st unix.Stat_t
		must(t, unix.Stat(dir+"/dir/file", &st))
		if st.Size != size || st.Blocks*512 > 1<<20 {
			t.Errorf("%s: size %d, %d bytes allocated", name, st.Size, st.Blocks*512)
		}
		if got := scan(t, dir, tree.ScanOptions{}).Lookup("dir").Lookup("file").Digest; got != digest {
			t.Errorf("%s: digest %v", name, got)
		}
	}
}

// openPath is an opener that knows one file.
type openPath string

func (p openPath) OpenObject(*tree.Inode) (io.ReadCloser, error) { return os.Open(string(p)) }

func TestExtractForTheCallerAlone(t *testing.T) {
	n := newFile("#!/bin/sh\n")
	n.Mode = tree.TypeRegular | 0o6755
	n.UID, n.GID = 4321, 1<<32-1
	n.SetXattr("user.a", "kept")
	n.SetXattr("trusted.a", "left out")
	device := &tree.Inode{Mode: tree.TypeBlock | 0o600, Rdev: 0x801, Nlink: 2}
	root := build(t, []string{"/a", "/device", "/device2"}, []*tree.Inode{n, device, device})
	dir := t.TempDir()
	must(t, extract(t, root, dir, nil, asUser))
	got := scan(t, dir, tree.ScanOptions{})
	if fmt.Sprint(names(got)) != "[/ /a]" {
		t.Errorf("names %q", names(got))
	}
	a := got.Lookup("a")
	if a.Perm() != 0o755 || a.UID != uint32(os.Geteuid()) {
		t.Errorf("mode %o, owner %d", a.Perm(), a.UID)
	}
	if want := []tree.Xattr{{Name: "user.a", Value: "kept"}}; !slices.Equal(a.Xattrs, want) {
		t.Errorf("attributes %q", a.Xattrs)
	}
}

func TestExtractOnlyIntoAnEmptyDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/precious", []byte("x"))
	if err := extract(t, newDir(), dir, nil, asUser); !errors.Is(err, tree.ErrNotEmpty) {
		t.Errorf("got %v", err)
	}
	if err := extract(t, newDir(), dir+"/precious", nil, asUser); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file gives %v", err)
	}
}

func TestExtractRefusesTreesThatAreNone(t *testing.T) {
	shared := newDir()
	loop := newDir()
	loop.Children = []tree.Entry{{Name: "loop", Inode: loop}}
	entries := func(list ...tree.Entry) *tree.Inode {
		root := newDir()
		root.Children = list
		return root
	}
	evil := &tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: "/tmp"}
	for name, test := range map[string]struct {
		root *tree.Inode
		want error
	}{
		"up":              {entries(tree.Entry{Name: "..", Inode: newDir()}), tree.ErrName},
		"path":            {entries(tree.Entry{Name: "a/b", Inode: newFile("")}), tree.ErrName},
		"nul":             {entries(tree.Entry{Name: "a\x00b", Inode: newFile("")}), tree.ErrName},
		"empty":           {entries(tree.Entry{Name: "", Inode: newFile("")}), tree.ErrName},
		"same name":       {entries(tree.Entry{Name: "a", Inode: evil}, tree.Entry{Name: "a", Inode: newDir()}), tree.ErrTree},
		"no inode":        {entries(tree.Entry{Name: "a"}), tree.ErrTree},
		"loop":            {loop, tree.ErrTree},
		"linked dir":      {entries(tree.Entry{Name: "a", Inode: shared}, tree.Entry{Name: "b", Inode: shared}), tree.ErrTree},
		"no directory":    {newFile(""), tree.ErrTree},
		"no type":         {entries(tree.Entry{Name: "a", Inode: &tree.Inode{Mode: 0o644}}), tree.ErrTree},
		"size of content": {entries(tree.Entry{Name: "a", Inode: &tree.Inode{Mode: tree.TypeRegular, Size: 9, Content: []byte("x")}}), tree.ErrTree},
		"nul in target":   {entries(tree.Entry{Name: "a", Inode: &tree.Inode{Mode: tree.TypeSymlink, Target: "a\x00"}}), unix.EINVAL},
		"time that means now": {entries(tree.Entry{Name: "a", Inode: &tree.Inode{
			Mode: tree.TypeRegular, Mtime: tree.Timespec{Nsec: unix.UTIME_NOW},
		}}), unix.EINVAL},
	} {
		dir := t.TempDir()
		if err := extract(t, test.root, dir, nil, asUser); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
}

func TestExtractRefusesTheOwnerThatMeansNoChange(t *testing.T) {
	testenv.Root(t)
	n := newFile("")
	n.UID = 1<<32 - 1
	err := extract(t, oneFile(t, n), t.TempDir(), nil, tree.ExtractOptions{})
	if !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "/dir/file: set owner 4294967295:0") {
		t.Errorf("got %v", err)
	}
}

// A change of owner takes set-id bits and capabilities away, a write takes capabilities.
func TestExtractKeepsPrivileges(t *testing.T) {
	testenv.Root(t)
	n := newFile("program")
	n.Mode = tree.TypeRegular | 0o6755
	n.UID, n.GID = 1000, 1000
	n.SetXattr("security.capability", "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	n.SetXattr("system.posix_acl_access", "\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x04\x00\xe8\x03\x00\x00"+
		"\x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x05\x00\xff\xff\xff\xff\x20\x00\x05\x00\xff\xff\xff\xff")
	dir := t.TempDir()
	root := oneFile(t, n)
	must(t, extract(t, root, dir, nil, tree.ExtractOptions{}))
	if diff := differences(root, scan(t, dir, tree.ScanOptions{})); diff != nil {
		t.Errorf("%q", diff)
	}
}

func TestExtractReplacesInheritedACLs(t *testing.T) {
	dir := t.TempDir()
	acl := []byte("\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\xe8\x03\x00\x00" +
		"\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff")
	if err := unix.Lsetxattr(dir, "system.posix_acl_default", acl, 0); err != nil {
		t.Skip("no access control lists here: ", err)
	}
	must(t, extract(t, oneFile(t, newFile("x")), dir, nil, tree.ExtractOptions{NoOwner: true}))
	for path, e := range tree.Walk(scan(t, dir, tree.ScanOptions{})) {
		if len(e.Inode.Xattrs) > 0 {
			t.Errorf("%s has %q", path, e.Inode.Xattrs)
		}
	}
}

func TestExtractEndsWithItsContext(t *testing.T) {
	f, err := os.Open(t.TempDir())
	must(t, err)
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tree.Extract(ctx, oneFile(t, newFile("x")), f, nil, asUser); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestExtractAndScanCountWhatTheyDo(t *testing.T) {
	data := make([]byte, 1000)
	n := external(t, data)
	var progress counter
	opts := asUser
	opts.Progress = &progress
	must(t, extract(t, oneFile(t, n), t.TempDir(), treetest.Objects{n.Digest: data}, opts))
	if f, b := progress.files.Load(), progress.bytes.Load(); f != 3 || b != 1000 {
		t.Errorf("%d files, %d bytes", f, b)
	}
}
