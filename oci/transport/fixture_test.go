package transport

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/internal/faultyregistry"
	"github.com/go-composefs/composefs/oci/manifest"
)

// image is a container image of two layers, with each piece as bytes.
type image struct {
	manifest Manifest
	parsed   ocispec.Manifest
	config   []byte
	layers   [][]byte // compressed
	tars     [][]byte
}

// blobs returns all blobs of the image by descriptor.
func (i image) blobs() map[digest.Digest][]byte {
	m := map[digest.Digest][]byte{i.parsed.Config.Digest: i.config}
	for n, d := range i.parsed.Layers {
		m[d.Digest] = i.layers[n]
	}
	return m
}

func (i image) big() (ocispec.Descriptor, []byte) {
	n := len(i.layers) - 1
	return i.parsed.Layers[n], i.layers[n]
}

// makeTar makes a layer with one file of random bytes.
func makeTar(t testing.TB, name string, size int, seed uint64) []byte {
	t.Helper()
	data := make([]byte, size)
	chacha := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = chacha.Read(data)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(size), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func toJSON(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// makeImage makes an OCI image whose second layer has size bytes of content.
func makeImage(t testing.TB, seed uint64, size int) image {
	t.Helper()
	return makeImageOf(t, seed, size, ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig, ocispec.MediaTypeImageLayerGzip)
}

func makeDockerImage(t testing.TB, seed uint64, size int) image {
	t.Helper()
	return makeImageOf(t, seed, size, manifest.DockerManifest, manifest.DockerConfig, manifest.DockerLayerGzip)
}

func makeImageOf(t testing.TB, seed uint64, size int, manifestType, configType, layerType string) image {
	t.Helper()
	i := image{tars: [][]byte{makeTar(t, "small", 100, seed), makeTar(t, "big", size, seed+1000)}}
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers"}}
	i.parsed = ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: manifestType}
	for _, raw := range i.tars {
		layer := gz(t, raw)
		i.layers = append(i.layers, layer)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(raw))
		i.parsed.Layers = append(i.parsed.Layers, describe(layerType, layer))
	}
	i.config = toJSON(t, config)
	i.parsed.Config = describe(configType, i.config)
	i.manifest = newManifest(t, toJSON(t, i.parsed))
	return i
}

// referrerOf makes an artifact with a subject.
func referrerOf(t testing.TB, subject ocispec.Descriptor, artifactType, note string) (Manifest, []byte) {
	t.Helper()
	empty := []byte("{}")
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: artifactType, Config: describe(ocispec.MediaTypeEmptyJSON, empty),
		Layers: []ocispec.Descriptor{describe(ocispec.MediaTypeEmptyJSON, empty)}, Subject: &subject,
		Annotations: map[string]string{"note": note},
	}
	return newManifest(t, toJSON(t, m)), empty
}

func describe(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

func newManifest(t testing.TB, raw []byte) Manifest {
	t.Helper()
	m, err := NewManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// events collects what Options.Events is told.
type events struct {
	mu   sync.Mutex
	list []Event
}

func (e *events) add(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, event)
}

func (e *events) count(kind EventKind) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, event := range e.list {
		if event.Kind == kind {
			n++
		}
	}
	return n
}

// plainOptions reach registries on loopback, without waits that a test would feel, and with nothing of
// the machine's configuration.
func plainOptions(e *events) Options {
	o := Options{
		PlainHTTP:  func(string) bool { return true },
		Keychain:   FixedKeychain(noCredentials),
		RetryDelay: time.Millisecond,
	}
	if e != nil {
		o.Events = e.add
	}
	return o
}

// memoryRegistry is a good registry in memory, without the API of referrers: the library has one of a draft.
func memoryRegistry() http.Handler {
	return registry.New(registry.Logger(log.New(io.Discard, "", 0)))
}

func startFaulty(t testing.TB) *faultyregistry.Server {
	t.Helper()
	s := faultyregistry.New(memoryRegistry())
	t.Cleanup(s.Close)
	return s
}

func parse(t testing.TB, s string) Reference {
	t.Helper()
	r, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func openSource(t testing.TB, ref string, opts Options) Source {
	t.Helper()
	s, err := OpenSource(t.Context(), parse(t, ref), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func openDestination(t testing.TB, ref string, opts Options) Destination {
	t.Helper()
	d, err := OpenDestination(t.Context(), parse(t, ref), opts)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// put writes an image to where a reference says.
func put(t testing.TB, ref string, opts Options, i image) {
	t.Helper()
	d := openDestination(t, ref, opts)
	putInto(t, d, i)
	if err := d.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func putInto(t testing.TB, d Destination, i image) {
	t.Helper()
	for dgst, data := range i.blobs() {
		if _, err := d.PutBlob(t.Context(), ocispec.Descriptor{Digest: dgst, Size: int64(len(data))}, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.PutManifest(t.Context(), i.manifest, true); err != nil {
		t.Fatal(err)
	}
}

func readBlob(t testing.TB, s Source, desc ocispec.Descriptor) ([]byte, error) {
	t.Helper()
	r, err := s.Blob(t.Context(), desc)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// checkImage reads an image back from a source and compares all of it.
func checkImage(t testing.TB, s Source, want image) {
	t.Helper()
	m, err := s.Manifest(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.manifest, m); diff != "" {
		t.Fatalf("manifest (-want +got):\n%s", diff)
	}
	again, err := s.Manifest(t.Context(), m.Digest)
	if err != nil || !bytes.Equal(again.Raw, m.Raw) {
		t.Fatalf("manifest by digest: %v", err)
	}
	for _, desc := range append([]ocispec.Descriptor{want.parsed.Config}, want.parsed.Layers...) {
		data, err := readBlob(t, s, desc)
		if err != nil {
			t.Fatal(err)
		}
		if got := digest.FromBytes(data); got != desc.Digest {
			t.Errorf("blob %s reads as %s", desc.Digest, got)
		}
	}
}
