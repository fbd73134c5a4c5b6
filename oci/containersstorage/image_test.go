package containersstorage_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/oci/containersstorage"
	"github.com/go-composefs/composefs/oci/manifest"
)

func open(t testing.TB, g *graph, name string) *containersstorage.Image {
	t.Helper()
	i, err := containersstorage.Open(t.Context(), name, containersstorage.Options{Root: g.root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	return i
}

func readAll(t testing.TB, l *containersstorage.Layer) ([]byte, error) {
	t.Helper()
	r, err := l.Reader(t.Context())
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// joined puts the segments of a layer together again.
func joined(t testing.TB, l *containersstorage.Layer) (tar []byte, names []string, err error) {
	t.Helper()
	for s, err := range l.Segments(t.Context()) {
		if err != nil {
			return tar, names, err
		}
		if s.File == nil {
			tar = append(tar, s.Data...)
			continue
		}
		content, err := io.ReadAll(s.Content())
		if err := errors.Join(err, s.File.Close()); err != nil {
			return tar, names, err
		}
		tar, names = append(tar, content...), append(names, s.Name)
	}
	return tar, names, nil
}

func TestLayersComeBackBitForBit(t *testing.T) {
	g := newGraph(t)
	first := makeTar(t, file("etc/a", "hello world"), file("empty", ""), symlink("lib", "usr/lib"), symlink("abs", "/usr"),
		file("usr/lib/so", strings.Repeat("so", 5000)), file("lib/through-a-link", "x"), file("abs/lib/through-another", "y"),
		file("ünï", "code"), file("raw\xff", "name"), file(strings.Repeat("long/", 50)+"name", "z"))
	first = append(first, strings.Repeat("padding", 300_000)...)
	second := makeTar(t, file("etc/.wh.a", ""), file("./etc/b", "b"))
	id := g.layer("", first)
	g.image(g.layer(id, second), []digest.Digest{digest.FromBytes(first), digest.FromBytes(second)}, "localhost/two:latest")

	i := open(t, g, "two")
	if raw, mediaType := i.Manifest(); mediaType != "application/vnd.oci.image.manifest.v1+json" || digest.FromBytes(i.Config()).Encoded() != i.ID {
		t.Errorf("manifest %s of type %s, image %s", raw, mediaType, i.ID)
	}
	if len(i.Layers()) != 2 {
		t.Fatalf("%d layers", len(i.Layers()))
	}
	for n, want := range [][]byte{first, second} {
		l := i.Layers()[n]
		if l.DiffID != digest.FromBytes(want) || l.Size != int64(len(want)) || l.CompressedSize != 7 || l.CompressedDigest != digest.FromString("compressed "+l.DiffID.String()) {
			t.Errorf("layer %+v", l)
		}
		if got, err := readAll(t, l); err != nil || !bytes.Equal(got, want) {
			t.Errorf("layer %d: %d bytes of %d, error %v", n, len(got), len(want), err)
		}
		if got, _, err := joined(t, l); err != nil || !bytes.Equal(got, want) {
			t.Errorf("layer %d in segments: %d bytes of %d, error %v", n, len(got), len(want), err)
		}
		r, err := l.Reader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(r, want); err != nil {
			t.Errorf("layer %d: %v", n, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	_, names, err := joined(t, i.Layers()[1])
	if err != nil || strings.Join(names, " ") != "./etc/b" {
		t.Errorf("files %q, error %v", names, err)
	}
}

// An image of no layers has a configuration all the same.
func TestImageWithoutLayers(t *testing.T) {
	g := newGraph(t)
	g.image("", nil, "localhost/none:latest")
	if n := len(open(t, g, "none").Layers()); n != 0 {
		t.Errorf("%d layers", n)
	}
}

func TestChangedFilesAreNamed(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(path string) error
		text   string
	}{
		"other bytes": {func(p string) error { return os.WriteFile(p, []byte("hellO world"), 0o644) }, `"etc/a": its content has another checksum`},
		"longer":      {func(p string) error { return os.WriteFile(p, []byte("hello world!"), 0o644) }, `"etc/a": it has 12 bytes, and had 11`},
		"shorter":     {func(p string) error { return os.Truncate(p, 3) }, `"etc/a": it has 3 bytes, and had 11`},
		"gone":        {os.Remove, `"etc/a": it is not there`},
		"a directory": {func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o755)) }, `"etc/a": it is no regular file`},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGraph(t)
			g.simple("localhost/a:latest")
			l := open(t, g, "a").Layers()[0]
			if err := test.damage(g.path("overlay/" + l.ID + "/diff/etc/a")); err != nil {
				t.Fatal(err)
			}
			if _, err := readAll(t, l); !errors.Is(err, containersstorage.ErrChanged) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("reader: %v", err)
			}
			if _, _, err := joined(t, l); !errors.Is(err, containersstorage.ErrChanged) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("segments: %v", err)
			}
		})
	}
}

// A file that is cut while it is read.
func TestFileThatShrinks(t *testing.T) {
	g := newGraph(t)
	g.simple("localhost/a:latest")
	l := open(t, g, "a").Layers()[0]
	for s, err := range l.Segments(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if s.Name != "big" {
			continue
		}
		if err := os.Truncate(g.path("overlay/"+l.ID+"/diff/big"), 1000); err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, s.Content())
		if !errors.Is(err, containersstorage.ErrChanged) || n != 1000 {
			t.Errorf("%d bytes, error %v", n, err)
		}
		return
	}
	t.Error("no such file")
}

func TestStorageThatContradictsItself(t *testing.T) {
	other := strings.Repeat("ab", 32)
	for name, test := range map[string]struct {
		damage func(g *graph)
		want   error
		text   string
	}{
		"images.json is none":        {func(g *graph) { g.write("overlay-images/images.json", []byte("{")) }, containersstorage.ErrCorrupt, "images.json"},
		"images.json is deep":        {func(g *graph) { g.write("overlay-images/images.json", bytes.Repeat([]byte("["), 100_000)) }, containersstorage.ErrCorrupt, "depth"},
		"layers.json is none":        {func(g *graph) { g.write("overlay-layers/layers.json", []byte("7")) }, containersstorage.ErrCorrupt, "layers.json"},
		"ID of an image leads out":   {func(g *graph) { g.images[0].ID = "../../etc"; g.save() }, containersstorage.ErrCorrupt, "no ID"},
		"ID of a layer leads out":    {func(g *graph) { g.layers[0].ID = "../../etc"; g.save() }, containersstorage.ErrCorrupt, "no ID"},
		"a layer is missing":         {func(g *graph) { g.images[0].Layer = other; g.save() }, containersstorage.ErrCorrupt, "there is no layer"},
		"a layer is its own parent":  {func(g *graph) { g.layers[0].Parent = g.layers[0].ID; g.save() }, containersstorage.ErrCorrupt, "more than 500 layers"},
		"no layer, but a diff id":    {func(g *graph) { g.images[0].Layer = ""; g.save() }, containersstorage.ErrCorrupt, "it has 0 layers"},
		"another diff id":            {func(g *graph) { g.layers[0].Digest = digest.Digest("sha256:" + other); g.save() }, containersstorage.ErrCorrupt, "the configuration says"},
		"the manifest is gone":       {func(g *graph) { g.remove("manifest") }, containersstorage.ErrCorrupt, "there is no manifest"},
		"another manifest":           {func(g *graph) { g.writeDocument("manifest", []byte("{}")) }, containersstorage.ErrCorrupt, "none of the image's"},
		"a manifest that is none":    {func(g *graph) { g.replaceManifest([]byte("{}")) }, manifest.ErrInvalid, ""},
		"a large manifest":           {func(g *graph) { g.writeDocument("manifest", make([]byte, manifest.MaxSize+1)) }, nil, "too large"},
		"another configuration":      {func(g *graph) { g.writeDocument("=", []byte("{}")) }, containersstorage.ErrCorrupt, "the configuration is not"},
		"the configuration is gone":  {func(g *graph) { g.remove("=") }, containersstorage.ErrCorrupt, "there is no sha256:"},
		"the manifest is a link out": {func(g *graph) { g.link("manifest", "/etc/passwd") }, nil, "escapes"},
		"the manifest is a pipe":     {func(g *graph) { g.directory("manifest") }, containersstorage.ErrCorrupt, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGraph(t)
			g.simple("localhost/a:latest")
			test.damage(g)
			_, err := containersstorage.Open(t.Context(), "a", containersstorage.Options{Root: g.root})
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// document returns the path of a file of the first image whose name begins so.
func (g *graph) document(begin string) string {
	g.t.Helper()
	dir := g.path("overlay-images/" + g.images[0].ID)
	list, err := os.ReadDir(dir)
	if err != nil {
		g.t.Fatal(err)
	}
	for _, e := range list {
		if strings.HasPrefix(e.Name(), begin) {
			return dir + "/" + e.Name()
		}
	}
	g.t.Fatalf("no %s", begin)
	return ""
}

func (g *graph) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *graph) remove(begin string) { g.t.Helper(); g.must(os.Remove(g.document(begin))) }
func (g *graph) writeDocument(begin string, data []byte) {
	g.t.Helper()
	g.must(os.WriteFile(g.document(begin), data, 0o644))
}

func (g *graph) link(begin, target string) {
	g.t.Helper()
	path := g.document(begin)
	g.must(os.Remove(path))
	g.must(os.Symlink(target, path))
}

func (g *graph) directory(begin string) {
	g.t.Helper()
	path := g.document(begin)
	g.must(os.Remove(path))
	g.must(os.Mkdir(path, 0o755))
}

func (g *graph) replaceManifest(data []byte) {
	g.t.Helper()
	g.writeDocument("manifest", data)
	g.images[0].Digest = digest.FromBytes(data)
	g.save()
}

// Whoever holds the lock for writing is waited for, and no longer than the caller wants.
func TestCancelledReader(t *testing.T) {
	g := newGraph(t)
	g.simple("localhost/a:latest")
	l := open(t, g, "a").Layers()[0]
	ctx, cancel := context.WithCancel(t.Context())
	r, err := l.Reader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("a closed reader reads")
	}
}

func TestLayerWithoutTarSplit(t *testing.T) {
	g := newGraph(t)
	g.simple("localhost/a:latest")
	l := open(t, g, "a").Layers()[0]
	g.must(os.Remove(g.path("overlay-layers/" + l.ID + ".tar-split.gz")))
	if _, err := l.Reader(t.Context()); !errors.Is(err, containersstorage.ErrUnsupported) {
		t.Errorf("no tar-split: %v", err)
	}
}
