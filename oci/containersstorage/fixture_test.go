package containersstorage_test

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/vbatts/tar-split/tar/asm"
	"github.com/vbatts/tar-split/tar/storage"
)

// graph is a storage that tests make by hand, as podman would.
type graph struct {
	t      testing.TB
	root   string
	driver string
	images []imageRecord
	layers []layerRecord
}

type imageRecord struct {
	ID             string                   `json:"id"`
	Digest         digest.Digest            `json:"digest"`
	Names          []string                 `json:"names"`
	Layer          string                   `json:"layer"`
	BigDataDigests map[string]digest.Digest `json:"big-data-digests"`
}

type layerRecord struct {
	ID               string        `json:"id"`
	Parent           string        `json:"parent"`
	Digest           digest.Digest `json:"diff-digest"`
	Size             int           `json:"diff-size"`
	CompressedDigest digest.Digest `json:"compressed-diff-digest"`
	CompressedSize   int           `json:"compressed-size"`
	Compression      int           `json:"compression"`
}

func newGraph(t testing.TB) *graph {
	t.Helper()
	g := &graph{t: t, root: t.TempDir(), driver: "overlay"}
	g.write("overlay-images/images.lock", nil)
	g.write("overlay-layers/layers.lock", nil)
	g.save()
	return g
}

func (g *graph) path(name string) string { return filepath.Join(g.root, name) }

func (g *graph) write(name string, data []byte) {
	g.t.Helper()
	if err := os.MkdirAll(filepath.Dir(g.path(name)), 0o755); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(g.path(name), data, 0o644); err != nil {
		g.t.Fatal(err)
	}
}

func (g *graph) writeJSON(name string, v any) []byte {
	g.t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		g.t.Fatal(err)
	}
	if name != "" {
		g.write(name, text)
	}
	return text
}

// save writes the two lists.
func (g *graph) save() {
	g.t.Helper()
	g.writeJSON(g.driver+"-images/images.json", g.images)
	g.writeJSON(g.driver+"-layers/layers.json", g.layers)
}

// layer stores a tar, and returns the layer's ID.
func (g *graph) layer(parent string, archive []byte) string {
	g.t.Helper()
	d := digest.FromBytes(archive)
	id := digest.FromBytes([]byte(parent + d.String())).Encoded()
	var split bytes.Buffer
	z := gzip.NewWriter(&split)
	r, done, err := asm.NewInputTarStreamWithDone(bytes.NewReader(archive), storage.NewJSONPacker(z), storage.NewDiscardFilePutter())
	if err != nil {
		g.t.Fatal(err)
	}
	g.unpack("overlay/"+id+"/diff", r)
	if _, err := io.Copy(io.Discard, r); err != nil {
		g.t.Fatal(err)
	}
	if err := <-done; err != nil {
		g.t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		g.t.Fatal(err)
	}
	g.write("overlay-layers/"+id+".tar-split.gz", split.Bytes())
	g.layers = append(g.layers, layerRecord{
		ID: id, Parent: parent, Digest: d, Size: len(archive),
		CompressedDigest: digest.FromString("compressed " + d.String()), CompressedSize: 7, Compression: 2,
	})
	g.save()
	return id
}

func (g *graph) unpack(dir string, archive io.Reader) {
	g.t.Helper()
	if err := os.MkdirAll(g.path(dir), 0o755); err != nil {
		g.t.Fatal(err)
	}
	t := tar.NewReader(archive)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			g.t.Fatal(err)
		}
		// Whoever unpacks for podman has changed its root to dir; an absolute link would lead out here.
		name := filepath.Join(dir, strings.Replace(h.Name, "abs/", "usr/", 1))
		switch h.Typeflag {
		case tar.TypeReg:
			content, err := io.ReadAll(t)
			if err != nil {
				g.t.Fatal(err)
			}
			g.write(name, content)
		case tar.TypeSymlink:
			if err := os.Symlink(h.Linkname, g.path(name)); err != nil {
				g.t.Fatal(err)
			}
		case tar.TypeDir:
			if err := os.MkdirAll(g.path(name), 0o755); err != nil {
				g.t.Fatal(err)
			}
		}
	}
}

// image stores an image of layers, and returns its ID.
func (g *graph) image(top string, diffIDs []digest.Digest, names ...string) string {
	g.t.Helper()
	config := g.writeJSON("", map[string]any{
		"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs}, "names": names,
	})
	d := digest.FromBytes(config)
	layers := []map[string]any{}
	for range diffIDs {
		layers = append(layers, map[string]any{
			"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest.FromString("blob"), "size": 4,
		})
	}
	manifest := g.writeJSON("", map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": layers,
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": d, "size": len(config)},
	})
	id := d.Encoded()
	g.write("overlay-images/"+id+"/manifest", manifest)
	g.write("overlay-images/"+id+"/="+base64.StdEncoding.EncodeToString([]byte(d.String())), config)
	g.images = append(g.images, imageRecord{
		ID: id, Digest: digest.FromBytes(manifest), Names: names, Layer: top,
		BigDataDigests: map[string]digest.Digest{"manifest": digest.FromBytes(manifest), d.String(): d},
	})
	g.save()
	return id
}

// simple stores an image of one layer with a few files, and returns its tar.
func (g *graph) simple(names ...string) []byte {
	g.t.Helper()
	archive := makeTar(g.t, file("etc/a", "hello world"), file("big", string(bytes.Repeat([]byte("0123456789"), 20_000))), file("empty", ""))
	g.image(g.layer("", archive), []digest.Digest{digest.FromBytes(archive)}, names...)
	return archive
}

type entry struct {
	tar.Header
	content string
}

func file(name, content string) entry {
	return entry{tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}, content}
}

func symlink(name, target string) entry {
	return entry{tar.Header{Name: name, Mode: 0o777, Linkname: target, Typeflag: tar.TypeSymlink}, ""}
}

func makeTar(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
