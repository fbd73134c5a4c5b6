package splitstream_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/splitstream"
)

var update = flag.Bool("update", false, "write testdata/cfsctl again with the cfsctl that is there")

// A peer is a repository of composefs-rs, and its program.
type peer struct {
	program, dir string
	alg          fsverity.Algorithm
}

func newPeer(t *testing.T, alg fsverity.Algorithm) peer {
	t.Helper()
	p := peer{testenv.Peer(t, "cfsctl"), filepath.Join(t.TempDir(), "repo"), alg}
	p.run(t, nil, "init", "--algorithm", alg.String())
	return p
}

func (p peer) run(t *testing.T, stdin []byte, args ...string) string {
	t.Helper()
	out, err := p.try(stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (p peer) try(stdin []byte, args ...string) (string, error) {
	cmd := exec.Command(p.program, append([]string{"--insecure", "--repo", p.dir}, args...)...)
	cmd.Stdin = bytes.NewReader(stdin)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("cfsctl %q: %w\n%s", args, err, &stderr)
	}
	return out.String(), nil
}

// stream returns the file of a stream.
func (p peer) stream(t *testing.T, id string) []byte {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(p.dir, "streams", id))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func (p peer) open(d fsverity.Digest) (io.ReadCloser, error) {
	return os.Open(filepath.Join(p.dir, "objects", d.ObjectPath()))
}

// put stores an object, and gives it a name in streams if there is one.
func (p peer) put(t *testing.T, content []byte, id string) fsverity.Digest {
	t.Helper()
	d, err := fsverity.Sum(p.alg, content)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(p.dir, "objects", d.ObjectPath())
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if id != "" {
		if err := os.MkdirAll(filepath.Join(p.dir, "streams"), 0o755); err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(p.dir, "streams", id)
		if err := os.Symlink("../objects/"+d.ObjectPath(), link); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// tarLayer returns a layer with count empty files, and some of each other kind.
func tarLayer(t *testing.T, count int) []byte {
	t.Helper()
	rnd := rand.New(rand.NewPCG(3, 3))
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, content []byte) {
		h.Size, h.Mode = int64(len(content)), 0o755
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Name: "usr/", Typeflag: tar.TypeDir}, nil)
	for _, size := range []int{0, 1, 63, 64, 65, 511, 512, 513, 4096, 300_000} {
		add(tar.Header{Name: fmt.Sprint("usr/file", size), Typeflag: tar.TypeReg}, noise(rnd, size))
	}
	same := noise(rnd, 1000)
	add(tar.Header{Name: "usr/same", Typeflag: tar.TypeReg}, same)
	add(tar.Header{Name: "usr/same2", Typeflag: tar.TypeReg}, same)
	add(tar.Header{Name: "usr/link", Typeflag: tar.TypeSymlink, Linkname: "file1"}, nil)
	add(tar.Header{Name: "usr/hard", Typeflag: tar.TypeLink, Linkname: "usr/file513"}, nil)
	add(tar.Header{Name: "usr/" + strings.Repeat("x", 250), Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("y", 300)}, nil)
	add(tar.Header{
		Name: "usr/attrs", Typeflag: tar.TypeReg, Format: tar.FormatPAX,
		PAXRecords: map[string]string{"SCHILY.xattr.user.a": strings.Repeat("v", 2000)},
	}, []byte("x"))
	for i := range count {
		add(tar.Header{Name: fmt.Sprintf("usr/empty%06d", i), Typeflag: tar.TypeReg}, nil)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sha(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

func algorithms(t *testing.T, f func(t *testing.T, alg fsverity.Algorithm)) {
	for _, alg := range []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512} {
		t.Run(alg.Hash.String(), func(t *testing.T) { f(t, alg) })
	}
}

func TestLayersOfCfsctlAreReassembled(t *testing.T) {
	algorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		p := newPeer(t, alg)
		for _, count := range []int{0, 10_000} {
			layer := tarLayer(t, count)
			p.run(t, layer, "oci", "import-layer", sha(layer))
			r := open(t, p.stream(t, "oci-layer-"+sha(layer)),
				splitstream.ReaderOptions{Algorithm: alg, ContentType: splitstream.Layer, MaxSize: uint64(len(layer))})
			var b bytes.Buffer
			if _, err := r.WriteTo(&b, p.open); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.Bytes(), layer) {
				t.Error("the layer is not what went in")
			}
			if refs := slices.Collect(r.References()); len(refs) != 7 {
				t.Errorf("%d references, want one for each different file of more than 64 bytes, 7: %v", len(refs), refs)
			}
		}
	})
}

// image puts an image of one layer into an OCI layout.
func image(t *testing.T, layer []byte) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	type fields map[string]any
	write := func(path string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, path), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	blob := func(mediaType string, b []byte) fields {
		write("blobs/"+strings.Replace(sha(b), ":", "/", 1), b)
		return fields{"mediaType": mediaType, "digest": sha(b), "size": len(b)}
	}
	config := text(fields{
		"architecture": "amd64", "os": "linux",
		"rootfs": fields{"type": "layers", "diff_ids": []string{sha(layer)}},
	})
	manifest := text(fields{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": blob("application/vnd.oci.image.config.v1+json", config),
		"layers": []fields{blob("application/vnd.oci.image.layer.v1.tar", layer)},
	})
	write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	write("index.json", text(fields{
		"schemaVersion": 2,
		"manifests":     []fields{blob("application/vnd.oci.image.manifest.v1+json", manifest)},
	}))
	return dir
}

func TestImagesOfCfsctlNameTheirParts(t *testing.T) {
	algorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		p := newPeer(t, alg)
		layer := tarLayer(t, 0)
		p.run(t, nil, "oci", "pull", "oci:"+image(t, layer), "test")

		if *update {
			if err := os.MkdirAll(filepath.Join("testdata", "cfsctl"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		streams, err := filepath.Glob(filepath.Join(p.dir, "streams", "oci-*"))
		if err != nil {
			t.Fatal(err)
		}
		names := map[splitstream.ContentType][]string{}
		for _, path := range streams {
			file := p.stream(t, filepath.Base(path))
			r := open(t, file, splitstream.ReaderOptions{Algorithm: alg})
			var b bytes.Buffer
			if _, err := r.WriteTo(&b, p.open); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if !strings.HasSuffix(path, "-"+sha(b.Bytes())) {
				t.Errorf("%s is a stream of digest %s", path, sha(b.Bytes()))
			}
			for _, ref := range r.NamedRefs() {
				object, err := p.open(ref.Digest)
				if err != nil {
					t.Errorf("%v: %s: %v", r.ContentType(), ref.Name, err)
					continue
				}
				_ = object.Close()
				names[r.ContentType()] = append(names[r.ContentType()], ref.Name)
			}
			if *update {
				keep := filepath.Join("testdata", "cfsctl", r.ContentType().String()+"-"+alg.Hash.String())
				if err := os.WriteFile(keep, file, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		config, manifest := names[splitstream.Config], names[splitstream.Manifest]
		if !slices.Contains(config, sha(layer)) || !slices.Contains(config, "composefs.image.v1") {
			t.Errorf("the configuration names %q", config)
		}
		if !slices.Contains(manifest, sha(layer)) || !strings.HasPrefix(manifest[0], "config:sha256:") {
			t.Errorf("the manifest names %q", manifest)
		}
	})
}

// splitTar gives a Writer a tar layer as an importer does: headers in one call each, files of
// more than 64 bytes as objects.
func splitTar(t *testing.T, w *splitstream.Writer, layer []byte, put func([]byte) fsverity.Digest) {
	t.Helper()
	inline := func(n int) {
		if _, err := w.Write(layer[:n]); err != nil {
			t.Fatal(err)
		}
		layer = layer[n:]
	}
	for len(layer) > 0 {
		size, padded := 0, 0
		if _, err := fmt.Sscanf(string(layer[124:136]), "%o", &size); err == nil {
			padded = (size + 511) &^ 511
		}
		if kind := layer[156]; kind == tar.TypeReg && size > 64 {
			inline(512)
			w.Object(put(layer[:size]), int64(size))
			layer = layer[size:]
			inline(padded - size)
			continue
		}
		inline(512 + padded)
	}
}

// TestKeptFilesOfCfsctlAreRead reads what TestImagesOfCfsctlNameTheirParts kept of cfsctl 0.9.4,
// and so needs none.
func TestKeptFilesOfCfsctlAreRead(t *testing.T) {
	algorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		kept := func(typ splitstream.ContentType) *splitstream.Reader {
			file, err := os.ReadFile(filepath.Join("testdata", "cfsctl", typ.String()+"-"+alg.Hash.String()))
			if err != nil {
				t.Fatal(err)
			}
			return open(t, file, splitstream.ReaderOptions{Algorithm: alg, ContentType: typ})
		}
		layer, objects := tarLayer(t, 0), store{}
		w := splitstream.NewWriter(splitstream.WriterOptions{Algorithm: alg, ContentType: splitstream.Layer})
		splitTar(t, w, layer, func(b []byte) fsverity.Digest { return objects.put(t, alg, b) })
		var ours, b bytes.Buffer
		if _, err := w.Finish(&ours); err != nil {
			t.Fatal(err)
		}
		r := kept(splitstream.Layer)
		if _, err := r.WriteTo(&b, objects.open); err != nil || !bytes.Equal(b.Bytes(), layer) {
			t.Errorf("the layer is not what went in: %v", err)
		}
		again := open(t, ours.Bytes(), splitstream.ReaderOptions{})
		if !slices.Equal(r.ObjectRefs(), again.ObjectRefs()) {
			t.Errorf("object refs are %v, this writer's %v", r.ObjectRefs(), again.ObjectRefs())
		}
		if want, got := chunks(t, r, objects), chunks(t, again, objects); !slices.EqualFunc(want, got, samePiece) {
			t.Errorf("%d chunks, this writer's %d, not the same", len(want), len(got))
		}
		for typ, want := range map[splitstream.ContentType][]string{
			splitstream.Config:   {"composefs.image.v1", sha(layer)},
			splitstream.Manifest: {"config:sha256:", sha(layer)},
		} {
			r := kept(typ)
			if len(r.NamedRefs()) != len(want) || len(r.ObjectRefs()) != 1 {
				t.Errorf("%v: refs %v, objects %v", typ, r.NamedRefs(), r.ObjectRefs())
			}
			for i, ref := range r.NamedRefs() {
				if !strings.HasPrefix(ref.Name, want[i]) {
					t.Errorf("%v: name %q, want %q", typ, ref.Name, want[i])
				}
			}
		}
	})
}

func samePiece(a, b piece) bool { return a.object == b.object && bytes.Equal(a.content, b.content) }

func TestCfsctlReadsLayersOfThisWriter(t *testing.T) {
	algorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		p := newPeer(t, alg)
		// 40,000 headers of 512 bytes are many chunks.
		for _, count := range []int{0, 40_000} {
			layer := tarLayer(t, count)
			w := splitstream.NewWriter(splitstream.WriterOptions{Algorithm: alg, ContentType: splitstream.Layer})
			splitTar(t, w, layer, func(b []byte) fsverity.Digest { return p.put(t, b, "") })
			var file bytes.Buffer
			if _, err := w.Finish(&file); err != nil {
				t.Fatal(err)
			}
			id := "oci-layer-" + sha(layer)
			p.put(t, file.Bytes(), id)
			if got := p.run(t, nil, "cat", id); got != string(layer) {
				t.Error("cfsctl cat does not give the layer")
			}
			if got := p.run(t, nil, "oci", "layer", sha(layer)); got != string(layer) {
				t.Error("cfsctl oci layer does not give the layer")
			}
			// This reads the headers of the tar, which no two chunks may share.
			if got := p.run(t, nil, "oci", "layer", "--dumpfile", sha(layer)); strings.Count(got, "\n") < count {
				t.Errorf("cfsctl finds %d entries in the layer of %d files", strings.Count(got, "\n"), count)
			}
		}
		if out := p.run(t, nil, "fsck"); !strings.Contains(out, "status: ok") {
			t.Errorf("cfsctl fsck: %s", out)
		}
	})
}

func TestCfsctlKeepsWhatStreamsOfThisWriterNeed(t *testing.T) {
	algorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		p := newPeer(t, alg)
		garbage := p.put(t, []byte("garbage"), "")
		layer := []byte(strings.Repeat("layer", 100))
		object := p.put(t, layer, "")
		needed := p.put(t, write(t, splitstream.WriterOptions{Algorithm: alg, ContentType: splitstream.Layer},
			[]piece{{layer, object}}), "oci-layer-"+sha(layer))
		config := []byte("{}")
		p.put(t, write(t, splitstream.WriterOptions{Algorithm: alg, ContentType: splitstream.Config},
			[]piece{{config, p.put(t, config, "")}},
			func(w *splitstream.Writer) { w.NamedRef(sha(layer), needed) }), "oci-config-"+sha(config))
		p.run(t, nil, "gc", "--root", "oci-config-"+sha(config))
		for _, d := range []fsverity.Digest{object, needed} {
			if f, err := p.open(d); err != nil {
				t.Error(err)
			} else {
				_ = f.Close()
			}
		}
		if f, err := p.open(garbage); err == nil {
			_ = f.Close()
			t.Error("cfsctl gc did nothing")
		}
		if got := p.run(t, nil, "cat", "oci-layer-"+sha(layer)); got != string(layer) {
			t.Error("the layer is not what went in")
		}
	})
}
