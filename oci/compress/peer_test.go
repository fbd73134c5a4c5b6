package compress

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-composefs/composefs/internal/testenv"
)

// run runs a program with this standard input and returns its standard output.
func run(t *testing.T, in []byte, program string, args ...string) []byte {
	t.Helper()
	if testing.Short() {
		t.Skip("other programs")
	}
	cmd := exec.CommandContext(t.Context(), testenv.Peer(t, program), args...)
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, &stderr)
	}
	return out
}

func TestWhatGzipAndZstdMakeIsRefused(t *testing.T) {
	for _, size := range []int{70_000, 3 << 20} {
		plain := sampleTar(t, size)
		for _, c := range [][]string{{"gzip", "-1"}, {"gzip", "-6"}, {"gzip", "-9n"}, {"zstd", "-3"}, {"zstd", "-19"}} {
			t.Run(fmt.Sprint(c, size), func(t *testing.T) {
				blob := run(t, plain, c[0], c[1], "-c")
				if r, ok := probe(blob, plain); ok {
					t.Errorf("%+v", r)
				}
			})
		}
	}
}

func TestGzipAndZstdReadWhatWeMake(t *testing.T) {
	plain := sampleTar(t, 9<<20)
	for program, names := range map[string][]string{
		"gzip": {"NewGzip", "NewGzip 9"}, "zstd": {"NewZstd", "NewZstd 19", "NewZstdChunked"},
	} {
		for _, name := range names {
			t.Run(name, func(t *testing.T) {
				if got := run(t, compressWith(t, encoders[name], plain), program, "-dc"); !bytes.Equal(got, plain) {
					t.Errorf("%d bytes that are others than the %d compressed", len(got), len(plain))
				}
			})
		}
	}
}

const (
	layerType  = "application/vnd.oci.image.layer.v1.tar"
	configType = "application/vnd.oci.image.config.v1+json"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type imageManifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType,omitempty"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

// writeLayout makes an image layout with an image of one layer.
func writeLayout(t *testing.T, plain, blob []byte, mediaType string, annotations map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(path string, b []byte) {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put := func(b []byte, mediaType string) descriptor {
		sum := sha256Of(b)
		write(filepath.Join("blobs/sha256", sum[len("sha256:"):]), b)
		return descriptor{MediaType: mediaType, Digest: sum, Size: len(b)}
	}
	putJSON := func(v any, mediaType string) descriptor {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return put(b, mediaType)
	}
	layer := put(blob, mediaType)
	layer.Annotations = annotations
	config := putJSON(map[string]any{
		"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": []string{sha256Of(plain)}},
	}, configType)
	m := putJSON(imageManifest{2, "application/vnd.oci.image.manifest.v1+json", config, []descriptor{layer}}, "application/vnd.oci.image.manifest.v1+json")
	m.Annotations = map[string]string{"org.opencontainers.image.ref.name": "x"}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{m}})
	if err != nil {
		t.Fatal(err)
	}
	write("index.json", index)
	write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return dir
}

// readLayout returns the layer of the image in a layout.
func readLayout(t *testing.T, dir string) ([]byte, map[string]string) {
	t.Helper()
	read := func(digest string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, "blobs/sha256", digest[len("sha256:"):]))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	text, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index struct{ Manifests []descriptor }
	var m imageManifest
	if err := json.Unmarshal(text, &index); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(read(index.Manifests[0].Digest), &m); err != nil {
		t.Fatal(err)
	}
	return read(m.Layers[0].Digest), m.Layers[0].Annotations
}

func TestARecipeOfSkopeosBlobsIsRightOrThereIsNone(t *testing.T) {
	plain := sampleTar(t, 5<<20)
	from := writeLayout(t, plain, plain, layerType, nil)
	for _, format := range []string{"gzip", "zstd"} {
		for _, level := range []string{"1", "3", "5", "9"} {
			t.Run(format+level, func(t *testing.T) {
				to := t.TempDir()
				run(t, nil, "skopeo", "copy", "-q", "--insecure-policy", "--dest-compress-format", format, "--dest-compress-level", level,
					"oci:"+from+":x", "oci:"+to+":x")
				blob, _ := readLayout(t, to)
				if bytes.Equal(blob, plain) {
					t.Fatal("skopeo has not compressed")
				}
				checkRecipe(t, blob, plain)
			})
		}
	}
}

func TestARecipeOfUmocisBlobsIsRightOrThereIsNone(t *testing.T) {
	plain := sampleTar(t, 5<<20)
	file := filepath.Join(t.TempDir(), "layer.tar")
	if err := os.WriteFile(file, plain, 0o644); err != nil {
		t.Fatal(err)
	}
	layout := filepath.Join(t.TempDir(), "layout")
	run(t, nil, "umoci", "init", "--layout", layout)
	run(t, nil, "umoci", "new", "--image", layout+":x")
	run(t, nil, "umoci", "raw", "add-layer", "--image", layout+":x", file)
	blob, _ := readLayout(t, layout)
	if bytes.Equal(blob, plain) {
		t.Fatal("umoci has not compressed")
	}
	checkRecipe(t, blob, plain)
}

// checkRecipe demands that a recipe, if there is one, makes all of the blob. Whether there is one is a matter of
// the version with which the program was built.
func checkRecipe(t *testing.T, blob, plain []byte) {
	t.Helper()
	r, ok := probe(blob, plain)
	if !ok {
		t.Log("no recipe: another version of the compressor")
		return
	}
	if !bytes.Equal(compressWith(t, r.NewWriter, plain), blob) {
		t.Errorf("%+v makes another blob", r)
	}
}

func TestATableOfContentsOfSkopeo(t *testing.T) {
	plain := kindsTar(t)
	plain = plain[:len(plain)-9*1024] // which old ones stumble over
	from, to := writeLayout(t, plain, plain, layerType, nil), t.TempDir()
	run(t, nil, "skopeo", "copy", "-q", "--insecure-policy", "--dest-compress-format", "zstd:chunked", "oci:"+from+":x", "oci:"+to+":x")
	blob, annotations := readLayout(t, to)
	toc, err := ReadTOC(bytes.NewReader(blob), int64(len(blob)), annotations)
	if err != nil {
		t.Fatal(err)
	}
	files, again := contents(t, blob, toc)
	checkEntries(t, plain, toc, files)
	if again != nil && !bytes.Equal(again, plain) {
		t.Error("tar-split and contents make another tar")
	}
	if _, err := ReadTOC(bytes.NewReader(blob), int64(len(blob)), nil); err != nil {
		t.Errorf("by its footer: %v", err)
	}
}

func TestSkopeoReadsWhatWeMake(t *testing.T) {
	plain := kindsTar(t)
	for name, suffix := range map[string]string{"NewGzip": "+gzip", "NewZstd": "+zstd", "NewZstdChunked": "+zstd"} {
		t.Run(name, func(t *testing.T) {
			var annotations map[string]string
			blob := compressWith(t, encoders[name], plain)
			if name == "NewZstdChunked" {
				blob, annotations = chunk(t, plain, ChunkedOptions{Level: 3})
			}
			from, to := writeLayout(t, plain, blob, layerType+suffix, annotations), t.TempDir()
			// It holds the decompressed layer against the diff id.
			run(t, nil, "skopeo", "copy", "-q", "--insecure-policy", "--dest-decompress", "oci:"+from+":x", "dir:"+to)
			got, err := os.ReadFile(filepath.Join(to, sha256Of(plain)[len("sha256:"):]))
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("other bytes: %v", err)
			}
		})
	}
}
