package tardiff_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/oci/tardiff"
)

// layout is an OCI layout that tests write.
type layout struct {
	t   *testing.T
	dir string
}

func newLayout(t *testing.T) layout {
	t.Helper()
	l := layout{t, t.TempDir()}
	l.write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return l
}

func (l layout) write(name string, data []byte) {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		l.t.Fatal(err)
	}
}

func (l layout) blob(mediaType string, data []byte) ocispec.Descriptor {
	l.t.Helper()
	d := digest.FromBytes(data)
	l.write("blobs/sha256/"+d.Encoded(), data)
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

func (l layout) json(v any) []byte {
	l.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

// index makes a manifest the layout's only one.
func (l layout) index(manifest ocispec.Descriptor) {
	l.t.Helper()
	l.write("index.json", l.json(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": []any{manifest}}))
}

// image is an image in a layout.
type image struct {
	manifest, config ocispec.Descriptor
	layers           []ocispec.Descriptor
	diffIDs          []digest.Digest
}

func (l layout) image(layers ...[]byte) image {
	l.t.Helper()
	var i image
	for _, tar := range layers {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(tar); err != nil {
			l.t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			l.t.Fatal(err)
		}
		i.layers = append(i.layers, l.blob(gzipLayer, b.Bytes()))
		i.diffIDs = append(i.diffIDs, digest.FromBytes(tar))
	}
	i.config = l.blob(ocispec.MediaTypeImageConfig, l.json(map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{}, "rootfs": map[string]any{"type": "layers", "diff_ids": i.diffIDs},
	}))
	i.manifest = l.blob(ocispec.MediaTypeImageManifest, l.json(map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "config": i.config, "layers": i.layers,
	}))
	l.index(i.manifest)
	return i
}

// composefs-rs follows our deltas: it pulls the source, then the artifact, and has the target's layers after that.
func TestCfsctlAppliesOurDelta(t *testing.T) {
	cfsctl := testenv.Peer(t, "cfsctl")
	shared := makeTar(t, directory("etc"), file("etc/hostname", "testhost\n"), directory("usr"), directory("usr/bin"), directory("data"))
	contents, first, second := map[string]string{}, []entry{}, []entry{}
	for i := range 40 {
		old := noise(byte(i), 500+i*2000)
		fresh := old
		if i%2 == 1 {
			fresh = old[:len(old)/2] + "inserted" + old[len(old)/2:]
		}
		name := fmt.Sprintf("data/f-%d", i)
		contents[name] = old
		first = append(first, file(name, old))
		second = append(second, file(fmt.Sprintf("data/f-%d", (i*7)%40), fresh))
	}
	contents["etc/hostname"] = "testhost\n"
	changed, added := makeTar(t, second...), makeTar(t, file("usr/bin/new", noise(99, 5000)))

	source := newLayout(t)
	from := source.image(shared, makeTar(t, first...))
	destination := newLayout(t)
	to := destination.image(shared, changed, added)

	delta, stats := create(t, files(contents), changed, tardiff.CreateOptions{})
	if stats.Identical == 0 || stats.Changed == 0 || stats.Copied == 0 {
		t.Errorf("%+v", stats)
	}
	plain := newLayout(t)
	for _, d := range []ocispec.Descriptor{to.manifest, to.config, to.layers[2]} {
		plain.blob(d.MediaType, destination.read(d))
	}
	plain.blob(ocispec.MediaTypeEmptyJSON, tardiff.EmptyConfig)
	a := &tardiff.Artifact{
		SourceConfig: from.config.Digest, Source: from.manifest.Digest, Manifest: to.manifest, Config: to.config,
		Layers: []tardiff.ArtifactLayer{
			{To: to.layers[1].Digest, Blob: plain.blob(tardiff.MediaType, delta)}, {To: to.layers[2].Digest, Blob: to.layers[2]},
		},
		Reused: []tardiff.ReusedLayer{{Blob: to.layers[0].Digest, DiffID: to.diffIDs[0]}},
	}
	raw, err := a.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	plain.index(plain.blob(ocispec.MediaTypeImageManifest, raw))

	repo := t.TempDir() + "/repo"
	run := func(args ...string) []byte {
		t.Helper()
		var stderr bytes.Buffer
		cmd := exec.CommandContext(t.Context(), cfsctl, append([]string{"--repo", repo}, args...)...)
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("cfsctl %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
		}
		return out
	}
	run("init", "--insecure", "--erofs-version", "2", repo) // it looks for the source's files in images of this version only
	run("oci", "pull", "oci:"+source.dir, "source")
	if out := run("oci", "pull", "oci:"+plain.dir, "target"); !bytes.Contains(out, []byte(to.manifest.Digest.String())) {
		t.Errorf("cfsctl pulled\n%s", out)
	}
	for i, tar := range [][]byte{shared, changed, added} {
		if got := run("oci", "layer", to.diffIDs[i].String()); !bytes.Equal(got, tar) {
			t.Errorf("layer %d has %d bytes there, not %d", i, len(got), len(tar))
		}
	}
}

func (l layout) read(d ocispec.Descriptor) []byte {
	l.t.Helper()
	data, err := os.ReadFile(filepath.Join(l.dir, "blobs/sha256", d.Digest.Encoded()))
	if err != nil {
		l.t.Fatal(err)
	}
	return data
}

func directory(name string) entry {
	e := file(name+"/", "")
	e.Typeflag, e.Mode = '5', 0o755
	return e
}
