package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"
)

// startTestRegistry gives a script a registry, at $REGISTRY.
func startTestRegistry(env *testscript.Env) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
	env.Defer(server.Close)
	env.Setenv("REGISTRY", strings.TrimPrefix(server.URL, "http://"))
}

// ociimage is a program of scripts: `ociimage LAYOUT NAME FILE...` adds to a layout an image of a layer for each
// FILE, PATH=TEXT, on top of a directory /usr; TEXT is repeated until it is an object. "PATH=" removes a file.
func ociimage() {
	if err := makeOCIImage(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "ociimage:", err)
		os.Exit(1)
	}
}

func makeOCIImage(path, name string, files []string) error {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.Config(img, v1.Config{Env: []string{"MADE=for a test"}})
	if err != nil {
		return err
	}
	for _, f := range files {
		if img, err = addOCILayer(img, f); err != nil {
			return err
		}
	}
	l, err := layout.FromPath(path)
	if err != nil {
		if l, err = layout.Write(path, empty.Index); err != nil {
			return err
		}
	}
	return l.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": name}))
}

func addOCILayer(img v1.Image, f string) (v1.Image, error) {
	path, text, _ := strings.Cut(f, "=")
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	h := &tar.Header{Name: path, Typeflag: tar.TypeReg, Mode: 0o644}
	content := strings.Repeat(text+"\n", 100)
	if text == "" {
		at := strings.LastIndex(path, "/") + 1
		h.Name, content = path[:at]+".wh."+path[at:], ""
	}
	h.Size = int64(len(content))
	for _, err := range []error{
		w.WriteHeader(&tar.Header{Name: "usr/", Typeflag: tar.TypeDir, Mode: 0o755}),
		w.WriteHeader(h),
	} {
		if err != nil {
			return nil, err
		}
	}
	if _, err := io.WriteString(w, content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	return mutate.Append(img, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: "a test: " + f}})
}
