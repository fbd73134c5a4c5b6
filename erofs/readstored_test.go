package erofs_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/tree"
)

// storedImages are small images of one directory that mkfs.erofs 1.9.4 made, with options that
// their names tell. They hold: inline, 5 bytes, and its hard link dir/hard; zeros and random,
// 3000 and 1500 bytes; dir with file and 30 empty files; two symlinks, a FIFO and a device.
func storedImages(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/mkfs/*.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stored images: %v", err)
	}
	images := map[string][]byte{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		image, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		images[strings.TrimSuffix(filepath.Base(file), ".gz")] = image
	}
	return images
}

func TestStoredImages(t *testing.T) {
	for name, image := range storedImages(t) {
		t.Run(name, func(t *testing.T) {
			if name == "compressed" || name == "boxed" {
				t.Skip("see TestUnsupportedIsNamed")
			}
			img := openImage(t, image)
			for _, p := range problems(t, img, erofs.CheckOptions{}) {
				t.Error(p)
			}
			view := img.FS(erofs.FSOptions{})
			if err := fstest.TestFS(view, "inline", "dir/hard", "dir/entry-number-30", "link", "fifo", "dev"); err != nil {
				t.Error(err)
			}
			root, err := img.Tree(erofs.TreeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			inline, _ := tree.Resolve(root, "inline")
			hard, _ := tree.Resolve(root, "dir/hard")
			want := []tree.Xattr{{Name: "user.pre.fix.a", Value: "one"}, {Name: "user.pre.fix.b", Value: "two"}, {Name: "user.same", Value: "same"}}
			if inline == nil || inline != hard || string(inline.Content) != "hello" || fmt.Sprint(inline.Xattrs) != fmt.Sprint(want) {
				t.Errorf("got %+v and %+v", inline, hard)
			}
			zeros, _ := tree.Resolve(root, "zeros")
			if !bytes.Equal(zeros.Content, make([]byte, 3000)) {
				t.Error("zeros are something else")
			}
			dev, _ := tree.Resolve(root, "dev")
			if dev.Rdev != 5<<8|300&0xff|300>>8<<20 {
				t.Errorf("got rdev %#x", dev.Rdev)
			}
			link, _ := tree.Resolve(root, "longlink")
			if link.Target != strings.Repeat("./", 346)+"dir/file" {
				t.Errorf("got target %q", link.Target)
			}
		})
	}
}

// What cannot be read is named, and does not keep the rest from being read.
func TestUnsupportedIsNamed(t *testing.T) {
	images := storedImages(t)
	t.Run("compressed", func(t *testing.T) {
		img := openImage(t, images["compressed"])
		view := img.FS(erofs.FSOptions{})
		if err := fstest.TestFS(fstest.MapFS{}); err != nil {
			t.Fatal(err)
		}
		entries, err := view.ReadDir("dir")
		if err != nil || len(entries) != 32 {
			t.Errorf("got %d entries, %v", len(entries), err)
		}
		_, err = view.ReadFile("zeros")
		checkUnsupported(t, err, "EROFS_INODE_COMPRESSED")
		_, err = img.Tree(erofs.TreeOptions{})
		checkUnsupported(t, err, "")
		notes := 0
		for p := range img.Check(erofs.CheckOptions{}) {
			if p.Kind != erofs.ProblemUnsupported || !p.Note {
				t.Error(p)
			}
			notes++
		}
		if notes == 0 {
			t.Error("check does not say what it left out")
		}
	})
	t.Run("boxed", func(t *testing.T) {
		img := openImage(t, images["boxed"])
		_, err := img.Root()
		checkUnsupported(t, err, "EROFS_FEATURE_INCOMPAT_METABOX")
	})
}

func checkUnsupported(t *testing.T, err error, feature string) {
	t.Helper()
	var unsupported *erofs.UnsupportedError
	if !errors.As(err, &unsupported) || !errors.Is(err, erofs.ErrUnsupported) || !strings.Contains(err.Error(), feature) {
		t.Errorf("got %v, want it to name %q", err, feature)
	}
}

// An image of V2 with nothing but inline data reads the same whatever its block size says,
// from 512 bytes to more than any page.
func TestBlockSizes(t *testing.T) {
	root := &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 1}
	for i := range 3 {
		n := &tree.Inode{Mode: tree.TypeRegular | 0o644, Nlink: 1, Size: 100, Content: bytes.Repeat([]byte{'a' + byte(i)}, 100)}
		n.SetXattr("user.same", "same")
		if err := root.Add(tree.Entry{Name: fmt.Sprint(i), Inode: n}); err != nil {
			t.Fatal(err)
		}
	}
	var image bytes.Buffer
	if _, err := erofs.Write(&image, root, erofs.WriteOptions{Format: erofs.FormatV2}); err != nil {
		t.Fatal(err)
	}
	for bits := byte(9); bits <= 16; bits++ {
		b := bytes.Clone(image.Bytes())
		clear(b[:32])
		b[1024+12] = bits
		got, err := openImage(t, b).Tree(erofs.TreeOptions{})
		if err != nil {
			t.Errorf("blocks of 2^%d bytes: %v", bits, err)
			continue
		}
		if want := describeTree(root); fmt.Sprint(describeTree(got)) != fmt.Sprint(want) {
			t.Errorf("blocks of 2^%d bytes: the tree differs", bits)
		}
	}
}
