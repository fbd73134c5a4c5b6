package flatten_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/oci/flatten"
	"github.com/go-composefs/composefs/splitstream"
	"github.com/go-composefs/composefs/tree"
)

// FuzzFlatten puts two tars on top of each other, and holds what comes out to being a tree that nothing leads
// out of, and of which an image can be made.
func FuzzFlatten(f *testing.F) {
	for _, rule := range rules {
		for len(rule.layers) < 2 {
			rule.layers = append(rule.layers, nil)
		}
		f.Add(makeTar(f, rule.layers[0]...), makeTar(f, rule.layers[1]...))
	}
	f.Add(makeTar(f, entry{tar.Header{
		Name: "f", Typeflag: tar.TypeReg, Format: tar.FormatPAX, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b", "GNU.sparse.x": "y"},
	}, strings.Repeat("x", 100)}), makeTar(f, symlink("usr", "."), file("usr/usr/../x", "")))
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		m := newMemory(fsverity.SHA256)
		fl := flatten.New(flatten.Options{MaxEntries: 3000, MaxBytes: 1 << 20})
		for _, archive := range [][]byte{lower, upper} {
			w := splitstream.NewWriter(splitstream.WriterOptions{ContentType: splitstream.Layer})
			defer w.Close()
			opts := layer.Options{Store: m, Stream: w, NoTree: true, Plain: true, MaxSize: 1 << 20, MaxSparse: 1 << 20}
			if _, err := layer.Read(t.Context(), bytes.NewReader(archive), opts); err != nil {
				return
			}
			var file bytes.Buffer
			if _, err := w.Finish(&file); err != nil {
				t.Fatal(err)
			}
			s, err := splitstream.Open(bytes.NewReader(file.Bytes()), int64(file.Len()), splitstream.ReaderOptions{})
			if err != nil {
				t.Fatal(err)
			}
			err = fl.AddLayer(t.Context(), "layer", layer.Entries(t.Context(), s, layer.EntriesOptions{Store: m, MaxSparse: 1 << 20}))
			switch {
			case errors.Is(err, layer.ErrEntry), errors.Is(err, layer.ErrLimit):
				return
			case err != nil:
				t.Fatal(err)
			}
		}
		root := fl.Root()
		wantTree(t, root)
		flatten.Canonical(root, flatten.ModeCanonical)
		wantTree(t, root)
		if _, err := erofs.Write(io.Discard, root, erofs.WriteOptions{Format: erofs.FormatV1}); err != nil {
			t.Fatal(err)
		}
	})
}

// wantTree fails unless a tree is one, as an image wants it.
func wantTree(t *testing.T, root *tree.Inode) {
	t.Helper()
	names, own := map[*tree.Inode]uint32{}, map[*tree.Inode]bool{}
	for path, e := range tree.Walk(root) {
		if len(path) > 1 && tree.CheckName(e.Name) != nil || strings.HasPrefix(e.Name, ".wh.") {
			t.Fatalf("a name in %q", path)
		}
		if !e.Link && own[e.Inode] || e.Link && !own[e.Inode] {
			t.Fatalf("%q: which name is the file's own", path)
		}
		own[e.Inode] = true
		names[e.Inode]++
		for i, child := range e.Inode.Children {
			if i > 0 && child.Name <= e.Inode.Children[i-1].Name {
				t.Fatalf("%q: %q is not in order", path, child.Name)
			}
		}
		if n := e.Inode; n.IsExternal() && (n.Digest.IsZero() || n.Size <= layer.External) || n.IsRegular() && n.Size <= layer.External && int(n.Size) != len(n.Content) {
			t.Fatalf("%q: %d bytes, object %v", path, n.Size, n.Digest)
		}
	}
	for n, count := range names {
		if n.Nlink != count {
			t.Fatalf("%d names, and %d links", count, n.Nlink)
		}
	}
}
