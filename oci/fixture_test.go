package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"log"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/faultyregistry"
	"github.com/go-composefs/composefs/oci/transport"
	"github.com/go-composefs/composefs/repository"
)

// newRepository makes a repository whose objects need no fs-verity.
func newRepository(t testing.TB) *repository.Repository {
	t.Helper()
	path := filepath.Join(t.TempDir(), "repo")
	if _, err := repository.Create(path, repository.CreateOptions{Algorithm: fsverity.SHA256, Insecure: true}); err != nil {
		t.Fatal(err)
	}
	r, err := repository.Open(path, repository.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// testRegistry is a registry in this process, which notes requests, and answers wrongly if it is told to.
type testRegistry struct {
	*faultyregistry.Server
	host string
}

func newRegistry(t testing.TB) *testRegistry {
	t.Helper()
	s := faultyregistry.New(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
	t.Cleanup(s.Close)
	return &testRegistry{s, s.Host()}
}

// taken returns the requests since it was called before.
func (r *testRegistry) taken() []string {
	var list []string
	for _, req := range r.Requests() {
		list = append(list, req.Method+" "+req.Path)
	}
	r.Reset()
	return list
}

func (r *testRegistry) tag(t testing.TB, image string) name.Tag {
	t.Helper()
	tag, err := name.NewTag(r.host+"/"+image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return tag
}

// push gives the registry an image.
func (r *testRegistry) push(t testing.TB, image string, img v1.Image) {
	t.Helper()
	if err := remote.Write(r.tag(t, image), img); err != nil {
		t.Fatal(err)
	}
	r.taken()
}

// source opens an image of the registry.
func (r *testRegistry) source(t testing.TB, image string) transport.Source {
	t.Helper()
	ref, err := transport.Parse("docker://" + r.host + "/" + image)
	if err != nil {
		t.Fatal(err)
	}
	s, err := transport.OpenSource(t.Context(), ref, transport.Options{
		PlainHTTP: func(string) bool { return true }, Retries: 2, RetryDelay: time.Millisecond, IdleTimeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// file is an entry of a test's layer.
type file struct {
	name, content string
	header        tar.Header
}

func dir(name string) file {
	return file{name: name, header: tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}}
}

func makeTar(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := f.header
		h.Name, h.Size = f.name, int64(len(f.content))
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
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

// makeImage makes an image of layers, which may be compressed with gzip.
func makeImage(t testing.TB, layers ...[]byte) v1.Image {
	t.Helper()
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	for _, data := range layers {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(data)), nil
		}, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

var long = strings.Repeat("a file that is an object ", 1000)

// baseLayer and topLayer make an image that has some of everything.
func baseLayer(t testing.TB) []byte {
	return makeTar(t, dir("usr/"), dir("usr/bin/"), file{name: "usr/bin/tool", content: long},
		file{name: "usr/small", content: "small"}, dir("run/"), file{name: "run/lock", content: "gone"}, dir("etc/"), file{name: "etc/old", content: long})
}

func topLayer(t testing.TB) []byte {
	return makeTar(t, file{name: "etc/.wh.old"}, file{name: "usr/bin/other", content: long + "!"},
		file{name: "usr/bin/link", header: tar.Header{Typeflag: tar.TypeLink, Linkname: "usr/bin/tool"}})
}
