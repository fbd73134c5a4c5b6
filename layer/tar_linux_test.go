package layer_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/internal/treetest"
	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/tree"
)

// tarOf has tar(1) make an archive of a directory.
func tarOf(t *testing.T, dir string, options ...string) []byte {
	t.Helper()
	cmd := exec.Command("tar", append(options, "-C", dir, "-cf", "-", ".")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	return out
}

func scan(t *testing.T, path string) *tree.Inode {
	t.Helper()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	root, err := tree.Scan(t.Context(), dir, tree.ScanOptions{Hardlinks: true})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func wantEqual(t *testing.T, got, want *tree.Inode) {
	t.Helper()
	for change := range tree.Compare(want, got) {
		t.Errorf("%s %s %v", change.Kind, change.Path, change.Fields)
	}
	if imageOf(t, got) != imageOf(t, want) {
		t.Error("the image is another one")
	}
}

// A tar that tar(1) has made of a directory is the same tree as the directory.
func TestTarOfADirectoryIsTheDirectory(t *testing.T) {
	testenv.Root(t)
	for seed := range uint64(4) {
		objects := treetest.Objects{}
		root := treetest.Random(rand.New(rand.NewPCG(seed, 5)), treetest.Options{Real: true, Objects: objects, Entries: 600})
		path := t.TempDir()
		dir, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		if err := tree.Extract(t.Context(), root, dir, objects, tree.ExtractOptions{}); err != nil {
			t.Fatal(err)
		}
		removeWhatTarDoesNotHold(t, path)
		want := scan(t, path)
		for _, options := range [][]string{
			{"--format=posix"},
			{"--format=posix", "--sparse"},
			{"--format=posix", "--sparse", "--sparse-version=0.0"},
			{"--format=posix", "--sparse", "--sparse-version=0.1"},
		} {
			archive := tarOf(t, path, append(options, "--xattrs", "--xattrs-include=*", "--no-acls", "--no-selinux")...)
			wantEqual(t, readBoth(t, archive, archive).Root, want)
		}
	}
}

// removeWhatTarDoesNotHold removes sockets, further names of special files, ACLs, which tar records as
// text, and attributes whose names tar changes.
func removeWhatTarDoesNotHold(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		special := e.Type()&(os.ModeDevice|os.ModeNamedPipe) != 0
		if e.Type() == os.ModeSocket || special && st.Nlink > 1 {
			return os.Remove(path)
		}
		for _, name := range []string{"system.posix_acl_access", "system.posix_acl_default", "user.="} {
			_ = unix.Lremovexattr(path, name) // most have none
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Older formats have times in seconds, and no attributes.
func TestFormatsOfTar(t *testing.T) {
	path := t.TempDir()
	long := "d/" + string(bytes.Repeat([]byte("n"), 200))
	for name, content := range map[string]string{"empty": "", "small": "s", "large": string(make([]byte, 100_000)), long: "name"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(path, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, name), []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	holes, err := os.Create(filepath.Join(path, "holes"))
	if err != nil {
		t.Fatal(err)
	}
	defer holes.Close()
	for i := range int64(30) { // more than a header lists
		if _, err := holes.WriteAt([]byte("data"), i<<20); err != nil {
			t.Fatal(err)
		}
	}
	if err := holes.Truncate(40 << 20); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(string(bytes.Repeat([]byte("t"), 150)), filepath.Join(path, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(path, "small"), filepath.Join(path, "d/again")); err != nil {
		t.Fatal(err)
	}
	want := scan(t, path)
	for _, e := range tree.Walk(want) {
		e.Inode.Mtime.Nsec = 0
		e.Inode.Xattrs = nil
	}
	for _, options := range [][]string{
		{"--format=gnu"},
		{"--format=gnu", "--sparse"},
		{"--format=oldgnu", "--sparse", "--label=a volume"},
		{"--format=posix", "--sparse", "--pax-option=globexthdr.comment:=hello,delete=mtime"},
	} {
		archive := tarOf(t, path, options...)
		l := readBoth(t, archive, archive)
		wantEqual(t, l.Root, want)
		if l.NoEnd {
			t.Error("has no end")
		}
	}
	// A sparse file is the one thing whose size a small tar can exaggerate.
	archive := tarOf(t, path, "--sparse")
	_, err = layer.Read(t.Context(), bytes.NewReader(archive), layer.Options{Store: &memory{}, MaxSparse: 10 << 20})
	if err == nil {
		t.Error("no limit")
	}
}

func TestSparseFilesAreLimitedTogether(t *testing.T) {
	path := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(path, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(path, name), 6<<20); err != nil {
			t.Fatal(err)
		}
	}
	archive, store := tarOf(t, path, "--sparse"), &memory{}
	s := splitTar(t, archive, store)
	if len(store.content) > 0 {
		t.Errorf("%d objects that nothing names", len(store.content))
	}
	for limit, want := range map[int64]error{12 << 20: nil, 12<<20 - 1: layer.ErrLimit} {
		for _, noTree := range []bool{false, true} {
			opts := layer.Options{Store: store, MaxSparse: limit, NoTree: noTree}
			if _, err := layer.Read(t.Context(), bytes.NewReader(archive), opts); !errors.Is(err, want) {
				t.Errorf("limit %d, no tree %v: %v", limit, noTree, err)
			}
		}
		var last error
		for _, err := range layer.Entries(t.Context(), s, layer.EntriesOptions{Store: store, MaxSparse: limit}) {
			last = err
		}
		if !errors.Is(last, want) {
			t.Errorf("limit %d, entries: %v", limit, last)
		}
	}
	var last error
	for _, err := range layer.Entries(t.Context(), s, layer.EntriesOptions{}) {
		last = err
	}
	if !errors.Is(last, layer.ErrNoStore) {
		t.Errorf("without a store: %v", last)
	}
}
