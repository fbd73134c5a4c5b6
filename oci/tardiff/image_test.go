package tardiff_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci/tardiff"
	"github.com/go-composefs/composefs/tree"
)

// The old image as it is in a repository: a composefs image, and objects. Small files are in the image itself.
func TestSourceIsAComposefsImage(t *testing.T) {
	store := t.TempDir()
	root := &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 1}
	dir := &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 1}
	add := func(to *tree.Inode, name string, n *tree.Inode) {
		t.Helper()
		if err := to.Add(tree.Entry{Name: name, Inode: n}); err != nil {
			t.Fatal(err)
		}
	}
	add(root, "usr", dir)
	var entries []entry
	for i := range 20 {
		content := noise(byte(i), 40+i*3000)
		n := &tree.Inode{Mode: tree.TypeRegular | 0o644, Nlink: 1, Size: uint64(len(content))}
		if i == 0 {
			n.Content = []byte(content)
		} else {
			digest, err := fsverity.Sum(fsverity.Algorithm{}, []byte(content))
			if err != nil {
				t.Fatal(err)
			}
			n.Digest = digest
			path := filepath.Join(store, digest.ObjectPath())
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		add(dir, fmt.Sprint("f-", i), n)
		entries = append(entries, file(fmt.Sprint("usr/f-", i), content[:len(content)/2]+"new"[:i%2*3]+content[len(content)/2:]))
	}
	add(dir, "link", &tree.Inode{Mode: tree.TypeSymlink | 0o777, Nlink: 1, Target: "f-1"})
	add(dir, "pipe", &tree.Inode{Mode: tree.TypeFIFO | 0o644, Nlink: 1})
	var written bytes.Buffer
	if _, err := erofs.Write(&written, root, erofs.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	image, err := erofs.Open(bytes.NewReader(written.Bytes()), int64(written.Len()))
	if err != nil {
		t.Fatal(err)
	}
	old := tardiff.FromFS(image.FS(erofs.FSOptions{Objects: os.DirFS(store)}))
	delta, stats := create(t, old, makeTar(t, entries...), tardiff.CreateOptions{})
	if stats.Identical != 10 || stats.Changed != 10 || len(delta) > 3000 {
		t.Errorf("a delta of %d bytes: %+v", len(delta), stats)
	}
	for _, path := range []string{"usr/pipe", "usr", "nothing"} {
		if _, err := apply(t, deltaOf(t, path), old); err == nil {
			t.Errorf("%s can be a source", path)
		}
	}
	if got, err := apply(t, deltaOf(t, "usr/f-1"), old); err != nil || got != noise(1, 3040)[:10] {
		t.Errorf("%q, error %v", got, err)
	}
}

func deltaOf(t *testing.T, path string) []byte { return delta(t, open(path), copied(10)) }
