package oci

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/splitstream"
)

// TestCheckFindsALayerWithAnotherTar is about what a program that verifies no diff_id has put: a stream that is
// sound, and is not what its name says.
func TestCheckFindsALayerWithAnotherTar(t *testing.T) {
	reg, r := newRegistry(t), newRepository(t)
	reg.push(t, "app:1", makeImage(t, gzipped(t, baseLayer(t))))
	pulled, err := Pull(t.Context(), r, reg.source(t, "app:1"), PullOptions{Tags: []string{"app"}})
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := Check(t.Context(), r, true); err != nil || len(problems) > 0 {
		t.Fatalf("a good image: %+v, %v", problems, err)
	}
	tx, err := r.Begin(t.Context(), repository.TransactionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort()
	w := tx.NewStream(splitstream.Layer)
	if _, err := w.Write(makeTar(t, file{name: "planted", content: "x"})); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.PutStream(t.Context(), pulled.Image.Layers[0].Stream, w); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	problems, err := Check(t.Context(), r, true)
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Detail, "its tar has the diff_id") {
		t.Errorf("problems: %+v, %v", problems, err)
	}
	if _, err := Verify(t.Context(), r, pulled.Image, VerifyOptions{Data: true}); err == nil {
		t.Error("it verifies")
	}
}

// TestRefThatLeadsToNoManifest is about refs whose streams have other names than those of manifests and indexes,
// which once ended the program.
func TestRefThatLeadsToNoManifest(t *testing.T) {
	r := newRepository(t)
	tx, err := r.Begin(t.Context(), repository.TransactionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort()
	if _, err := tx.PutStream(t.Context(), "x", tx.NewStream(splitstream.Blob)); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{tagRef("app"), indexRef("index")} {
		if err := tx.TagStream(ref, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"app", "index"} {
		if _, err := NewSource(r, name).Manifest(t.Context(), ""); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s as a source: %v", name, err)
		}
		if _, err := Push(t.Context(), r, name, nil, PushOptions{AllPlatforms: true}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("pushing %s: %v", name, err)
		}
	}
}
