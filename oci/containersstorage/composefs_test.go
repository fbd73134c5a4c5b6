package containersstorage_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci/containersstorage"
	"github.com/go-composefs/composefs/tree"
)

// toComposefs turns a layer into what use_composefs makes of it: files of the diff directory get the names of their digests, and
// an image has those that they had.
func (g *graph) toComposefs(layer string) {
	g.t.Helper()
	diff := g.path("overlay/" + layer + "/diff")
	root := &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 1}
	objects := map[string][]byte{}
	g.must(filepath.WalkDir(diff, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		digest, err := fsverity.Sum(fsverity.Algorithm{}, data)
		if err != nil {
			return err
		}
		objects[digest.ObjectPath()] = data
		name, dir := strings.TrimPrefix(path, diff+"/"), root
		for parent, rest, ok := strings.Cut(name, "/"); ok; parent, rest, ok = strings.Cut(rest, "/") {
			if dir.Lookup(parent) == nil {
				g.must(dir.Add(tree.Entry{Name: parent, Inode: &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 1}}))
			}
			dir, name = dir.Lookup(parent), rest
		}
		return dir.Add(tree.Entry{Name: filepath.Base(name), Inode: &tree.Inode{
			Mode: tree.TypeRegular | 0o644, Nlink: 1, Size: uint64(len(data)), Digest: digest,
		}})
	}))
	g.must(os.RemoveAll(diff))
	for path, data := range objects {
		g.write("overlay/"+layer+"/diff/"+path, data)
	}
	var image bytes.Buffer
	if _, err := erofs.Write(&image, root, erofs.WriteOptions{}); err != nil {
		g.t.Fatal(err)
	}
	g.write("overlay/"+layer+"/composefs-data/composefs.blob", image.Bytes())
}

func TestLayerThatIsAComposefsImage(t *testing.T) {
	g := newGraph(t)
	archive := g.simple("localhost/a:latest")
	l := open(t, g, "a").Layers()[0]
	g.toComposefs(l.ID)
	if got, err := readAll(t, l); err != nil || !bytes.Equal(got, archive) {
		t.Errorf("%d bytes of %d, error %v", len(got), len(archive), err)
	}
	if got, names, err := joined(t, l); err != nil || !bytes.Equal(got, archive) || strings.Join(names, " ") != "etc/a big" {
		t.Errorf("segments: %d bytes of %d, files %q, error %v", len(got), len(archive), names, err)
	}
	g.write("overlay-layers/"+l.ID+".tar-split.gz", compress(t, fileLine("etc/b", "hello world")))
	if _, err := readAll(t, l); !errors.Is(err, containersstorage.ErrChanged) {
		t.Errorf("a name that is not in the image: %v", err)
	}
	g.write("overlay-layers/"+l.ID+".tar-split.gz", compress(t, fileLine("etc", "hello world")))
	if _, err := readAll(t, l); !errors.Is(err, containersstorage.ErrChanged) {
		t.Errorf("a directory: %v", err)
	}
	g.must(os.RemoveAll(g.path("overlay/" + l.ID + "/diff")))
	g.must(os.Mkdir(g.path("overlay/"+l.ID+"/diff"), 0o755))
	g.write("overlay-layers/"+l.ID+".tar-split.gz", compress(t, fileLine("etc/a", "hello world")))
	if _, err := readAll(t, l); !errors.Is(err, containersstorage.ErrChanged) {
		t.Errorf("an object that is not there: %v", err)
	}
	g.write("overlay/"+l.ID+"/composefs-data/composefs.blob", []byte("no image"))
	if _, err := readAll(t, l); !errors.Is(err, erofs.ErrCorrupt) {
		t.Errorf("an image that is none: %v", err)
	}
}
