package oci

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/tree"
)

// wantClean fails if a check of the repository finds a problem.
func wantClean(t testing.TB, r *repository.Repository) {
	t.Helper()
	found, err := r.Check(t.Context(), repository.CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !found.OK() {
		t.Errorf("problems: %+v", found.Problems)
	}
}

func pathsOf(t testing.TB, r *repository.Repository, digest string) []string {
	t.Helper()
	img, err := r.OpenImage(digest)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	root, err := img.Tree(erofs.TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for path := range tree.Walk(root) {
		paths = append(paths, string(path))
	}
	return paths
}

func TestPullMakesAnImageOfLayers(t *testing.T) {
	reg, r := newRegistry(t), newRepository(t)
	reg.push(t, "app:1", makeImage(t, gzipped(t, baseLayer(t)), topLayer(t)))
	got, err := Pull(t.Context(), r, reg.source(t, "app:1"), PullOptions{Tags: []string{"app:1"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/", "/etc", "/run", "/usr", "/usr/bin", "/usr/bin/link", "/usr/bin/other", "/usr/bin/tool", "/usr/small"}
	if diff := cmp.Diff(want, pathsOf(t, r, got.Rootfs.String())); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	if got.Stats.Layers != 2 || got.Stats.Objects != 2 {
		t.Errorf("stats: %+v", got.Stats)
	}
	wantClean(t, r)
	if _, err := r.Collect(t.Context(), repository.CollectOptions{}); err != nil {
		t.Fatal(err)
	}
	wantClean(t, r)
	img, err := Open(t.Context(), r, "app:1")
	if err != nil {
		t.Fatal(err)
	}
	if d, err := img.Rootfs(Variant{Format: erofs.FormatV1, Transform: TransformCanonical}); err != nil || d != got.Rootfs {
		t.Errorf("the image has the composefs image %v, %v; pulled was %v", d, err, got.Rootfs)
	}
}

func TestPullThatChangesNothingIsOneRequest(t *testing.T) {
	reg, r := newRegistry(t), newRepository(t)
	reg.push(t, "app:1", makeImage(t, gzipped(t, baseLayer(t))))
	opts := PullOptions{Tags: []string{"a", "b"}}
	first, err := Pull(t.Context(), r, reg.source(t, "app:1"), opts)
	if err != nil {
		t.Fatal(err)
	}
	reg.taken()
	again, err := Pull(t.Context(), r, reg.source(t, "app:1"), opts)
	if err != nil {
		t.Fatal(err)
	}
	if !again.Unchanged || again.Rootfs != first.Rootfs {
		t.Errorf("pulled again: %+v", again)
	}
	if got := reg.taken(); len(got) != 1 || !strings.HasPrefix(got[0], "HEAD ") {
		t.Errorf("requests %q, want one HEAD", got)
	}
}

func TestLayersComeBackBitForBit(t *testing.T) {
	reg, r := newRegistry(t), newRepository(t)
	layers := [][]byte{baseLayer(t), topLayer(t)}
	reg.push(t, "app:1", makeImage(t, gzipped(t, layers[0]), layers[1]))
	got, err := Pull(t.Context(), r, reg.source(t, "app:1"), PullOptions{Tags: []string{"app"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range got.Image.Layers {
		s, err := r.OpenStream(l.Stream)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := s.Copy(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), layers[i]) {
			t.Errorf("layer %d is another tar", i)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLayersOfAnotherImageAreNotFetched(t *testing.T) {
	reg, r := newRegistry(t), newRepository(t)
	base := gzipped(t, baseLayer(t))
	reg.push(t, "one:1", makeImage(t, base))
	reg.push(t, "two:1", makeImage(t, base, gzipped(t, topLayer(t))))
	if _, err := Pull(t.Context(), r, reg.source(t, "one:1"), PullOptions{Tags: []string{"one"}}); err != nil {
		t.Fatal(err)
	}
	reg.taken()
	got, err := Pull(t.Context(), r, reg.source(t, "two:1"), PullOptions{Tags: []string{"two"}})
	if err != nil {
		t.Fatal(err)
	}
	if got.Stats.Layers != 1 || got.Stats.LayersPresent != 1 {
		t.Errorf("stats: %+v", got.Stats)
	}
	blobs := slices.DeleteFunc(reg.taken(), func(s string) bool { return !strings.Contains(s, "/blobs/") })
	if len(blobs) != 2 { // config and one layer
		t.Errorf("blobs were fetched: %q", blobs)
	}
	wantClean(t, r)
}
