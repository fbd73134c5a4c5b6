package oci_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/oci/transport"
	"github.com/go-composefs/composefs/repository"
)

// A container engine brings in an image, and finds the composefs image to mount.
func ExamplePull() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	// An image of no layers, in the place of one of a registry.
	l, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	if err != nil {
		log.Fatal(err)
	}
	if err := l.AppendImage(empty.Image, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "v1"})); err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	path := filepath.Join(dir, "repo")
	if _, err := repository.Create(path, repository.CreateOptions{Insecure: true}); err != nil {
		log.Fatal(err)
	}
	r, err := repository.Open(path, repository.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	ref, err := transport.Parse("oci:" + filepath.Join(dir, "layout") + ":v1") // or docker://registry.example.com/app:v1
	if err != nil {
		log.Fatal(err)
	}
	source, err := oci.OpenSource(ctx, ref, transport.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer source.Close()
	pulled, err := oci.Pull(ctx, r, source, oci.PullOptions{Name: ref.String(), Tags: []string{"app"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(pulled.Image.Layers), "layers")

	img, err := r.OpenImage(pulled.Rootfs.String()) // its File is what package mount takes
	if err != nil {
		log.Fatal(err)
	}
	defer img.Close()
	fmt.Println(img.Format())
	// Output:
	// 0 layers
	// v1
}
