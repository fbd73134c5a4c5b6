package oci

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/oci/transport"
)

// layoutAt returns a reference to an image of a layout that a test makes.
func layoutAt(t testing.TB, path string) transport.Reference {
	t.Helper()
	ref, err := transport.Parse("oci:" + path + ":image")
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestDeltaMakesTheImage(t *testing.T) {
	reg, r := newRegistry(t), newRepository(t)
	data := strings.Repeat("some text that is not the same everywhere, line after line\n", 5000)
	base := gzipped(t, baseLayer(t))
	old := gzipped(t, makeTar(t, dir("usr/"), file{name: "usr/data", content: data}))
	changed := gzipped(t, makeTar(t, dir("usr/"), file{name: "usr/data", content: data[:100_000] + "changed" + data[100_000:]}, file{name: "usr/new", content: long}))
	reg.push(t, "app:1", makeImage(t, base, old))
	reg.push(t, "app:2", makeImage(t, base, changed))
	for _, tag := range []string{"app:1", "app:2"} {
		if _, err := Pull(t.Context(), r, reg.source(t, tag), PullOptions{Tags: []string{tag}}); err != nil {
			t.Fatal(err)
		}
	}
	ref := layoutAt(t, filepath.Join(t.TempDir(), "delta"))
	to, err := transport.OpenDestination(t.Context(), ref, transport.Options{})
	if err != nil {
		t.Fatal(err)
	}
	made, err := MakeDelta(t.Context(), r, "app:1", "app:2", to, DeltaOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if made.Layers != 1 || made.Reused != 1 || made.Whole != 0 || made.Bytes*2 > made.Original {
		t.Errorf("made %+v", made)
	}
	want, err := Open(t.Context(), r, "app:2")
	if err != nil {
		t.Fatal(err)
	}
	pull := func(t *testing.T, has string) (*Pulled, error) {
		other := newRepository(t)
		if has != "" {
			if _, err := Pull(t.Context(), other, reg.source(t, has), PullOptions{Tags: []string{has}}); err != nil {
				t.Fatal(err)
			}
		}
		from, err := transport.OpenSource(t.Context(), ref, transport.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer from.Close()
		got, err := Pull(t.Context(), other, from, PullOptions{Tags: []string{"new"}})
		wantClean(t, other)
		return got, err
	}
	got, err := pull(t, "app:1")
	if err != nil {
		t.Fatal(err)
	}
	if got.Image.Digest != want.Digest || got.Image.Rootfses()[Variant{Format: 1, Transform: TransformCanonical}.key()] != got.Rootfs {
		t.Errorf("the delta makes %s, want %s", got.Image.Digest, want.Digest)
	}
	if _, err := pull(t, ""); !errors.Is(err, ErrNoBase) {
		t.Errorf("without the base: %v", err)
	}
}
