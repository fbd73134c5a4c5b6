package repository

import (
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/splitstream"
	"github.com/go-composefs/composefs/tree"
)

func TestImagesOfCfsctlAreRead(t *testing.T) {
	bothAlgorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		c := initCfsctl(t, alg)
		c.fill(t)
		r := open(t, c.path)
		want := c.images(t)
		if len(want) < 3 {
			t.Fatalf("cfsctl has the images %v", want)
		}
		if diff := gocmp.Diff(want, namedImages(t, r)); diff != "" {
			t.Errorf("images (-cfsctl +here):\n%s", diff)
		}
		for name, digest := range want {
			for _, name := range []string{name, "refs/" + name, digest} {
				got, err := r.ResolveImage(name)
				if err != nil || got.String() != digest {
					t.Errorf("%s is %v, %v; want %s", name, got, err, digest)
				}
			}
			img, err := r.OpenImage(name)
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			refs, err := img.Objects()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, ref := range refs {
				got = append(got, alg.Hash.String()+":"+ref.Digest.String())
				if info, err := r.StatObject(ref.Digest); err != nil || info.Size() != ref.Size {
					t.Errorf("object %s of %s: %v, %v", ref.Digest, name, info, err)
				}
			}
			objects := strings.Fields(c.run(t, "image-objects", digest))
			slices.Sort(objects)
			if !slices.Equal(got, objects) {
				t.Errorf("%s needs %v, cfsctl says %v", name, got, objects)
			}
		}
	})
}

func TestFilesOfCfsctlImagesAreRead(t *testing.T) {
	bothAlgorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		for _, version := range []string{"0", "1", "2"} {
			c, dir := initCfsctl(t, alg, "--erofs-version", version), rootfs(t)
			c.run(t, "create-image", "--no-propagate-usr-to-root", dir, "name")
			r := open(t, c.path)
			img, err := r.OpenImage("name")
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			root, err := img.Tree(erofs.TreeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			files := 0
			for path, e := range tree.Walk(root) {
				if !e.Inode.IsRegular() {
					continue
				}
				files++
				want, err := os.ReadFile(filepath.Join(dir, string(path)))
				if err != nil {
					t.Fatal(err)
				}
				if got := content(t, r, e.Inode); !bytes.Equal(got, want) {
					t.Errorf("V%s: %s has %d bytes, not the %d that went in", version, path, len(got), len(want))
				}
			}
			if files != 11 {
				t.Errorf("V%s: %d files, want 11", version, files)
			}
		}
	})
}

// content returns that of a file of an image.
func content(t *testing.T, r *Repository, n *tree.Inode) []byte {
	t.Helper()
	ref, ok, err := objectOf(n)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return n.Content
	}
	f, err := r.OpenObject(ref.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestStreamsOfCfsctlAreReassembled(t *testing.T) {
	bothAlgorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		c := initCfsctl(t, alg)
		layers := c.fill(t)
		r := open(t, c.path)
		list, err := r.Streams()
		if err != nil {
			t.Fatal(err)
		}
		types, refs := map[splitstream.ContentType]int{}, map[string]string{}
		for _, info := range list {
			if info.Err != nil {
				t.Errorf("stream %s: %v", info.ID, info.Err)
				continue
			}
			s, err := r.OpenStream(info.ID)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var b bytes.Buffer
			if _, err := s.Copy(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
			// The ids of OCI streams end in the digest of what they hold.
			if !strings.HasSuffix(info.ID, "-"+shaOf(b.Bytes())) {
				t.Errorf("%s holds %s", info.ID, shaOf(b.Bytes()))
			}
			if out := c.run(t, "cat", info.ID); out != b.String() {
				t.Errorf("%s: cfsctl reads something else", info.ID)
			}
			types[s.ContentType()]++
			for _, ref := range info.Refs {
				refs[ref] = info.ID
			}
		}
		want := map[splitstream.ContentType]int{splitstream.Layer: len(layers), splitstream.Config: 2, splitstream.Manifest: 2}
		if !maps.Equal(types, want) {
			t.Errorf("there are streams of types %v, want %v", types, want)
		}
		if got := refs["a/layer"]; got != "oci-layer-"+shaOf(layers[0]) {
			t.Errorf("the ref a/layer names %q", got)
		}
		if got := refs["oci/registry.example%2Fapp:1"]; !strings.HasPrefix(got, "oci-manifest-sha256:") {
			t.Errorf("the tag of an OCI image names %q; refs are %v", got, refs)
		}
		for ref, id := range refs {
			if got, err := r.ResolveStream("refs/" + ref); err != nil || got != id {
				t.Errorf("refs/%s is %q, %v; want %q", ref, got, err, id)
			}
		}
	})
}

func TestCopiesOfCfsctlAreRead(t *testing.T) {
	from, to := initCfsctl(t, fsverity.SHA256), initCfsctl(t, fsverity.SHA256)
	layer := tarLayer(t, 1)
	from.run(t, "oci", "pull", "oci:"+ociLayout(t, layer), "app")
	to.run(t, "oci", "copy", "app", "--from", from.path, "--name", "copied")
	r := open(t, to.path)
	s, err := r.OpenStream("refs/oci/copied")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l, err := r.OpenStream("oci-layer-" + shaOf(layer))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var b bytes.Buffer
	if _, err := l.Copy(t.Context(), &b); err != nil || !bytes.Equal(b.Bytes(), layer) {
		t.Errorf("the copied layer is another one: %v", err)
	}
}
