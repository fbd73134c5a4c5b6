package oci

import (
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/go-composefs/composefs/oci/transport"
)

// destination opens a place of the registry to push to.
func (r *testRegistry) destination(t testing.TB, image string) transport.Destination {
	t.Helper()
	ref, err := transport.Parse("docker://" + r.host + "/" + image)
	if err != nil {
		t.Fatal(err)
	}
	d, err := transport.OpenDestination(t.Context(), ref, transport.Options{PlainHTTP: func(string) bool { return true }, Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestPushGivesBackWhatWasPulled(t *testing.T) {
	reg, other, r := newRegistry(t), newRegistry(t), newRepository(t)
	reg.push(t, "app:1", makeImage(t, gzipped(t, baseLayer(t)), topLayer(t)))
	pulled, err := Pull(t.Context(), r, reg.source(t, "app:1"), PullOptions{Tags: []string{"app"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Push(t.Context(), r, "app", other.destination(t, "copy:2"), PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !got.Original || got.Manifest.Digest != pulled.Image.Digest || len(got.Recompressed) > 0 {
		t.Errorf("pushed %+v, want %s", got, pulled.Image.Digest)
	}
	img, err := remote.Image(other.tag(t, "copy:2"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	// Again: the blobs are there.
	again, err := Push(t.Context(), r, "app", other.destination(t, "copy:3"), PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if again.Layers != 0 || again.LayersPresent != 2 {
		t.Errorf("pushed again: %+v", again)
	}
}

func TestPushInAnotherCompression(t *testing.T) {
	for _, kind := range []Compression{CompressionNone, CompressionGzip, CompressionZstd, CompressionZstdChunked} {
		t.Run(string(kind), func(t *testing.T) {
			reg, r := newRegistry(t), newRepository(t)
			reg.push(t, "app:1", makeImage(t, gzipped(t, baseLayer(t)), topLayer(t)))
			pulled, err := Pull(t.Context(), r, reg.source(t, "app:1"), PullOptions{Tags: []string{"app"}})
			if err != nil {
				t.Fatal(err)
			}
			got, err := Push(t.Context(), r, "app", reg.destination(t, "app:2"), PushOptions{Compression: kind})
			if err != nil {
				t.Fatal(err)
			}
			if kind != CompressionGzip && got.Original {
				t.Error("it is said to be what was pulled")
			}
			other := newRepository(t)
			back, err := Pull(t.Context(), other, reg.source(t, "app:2"), PullOptions{Tags: []string{"app"}})
			if err != nil {
				t.Fatal(err)
			}
			if back.Rootfs != pulled.Rootfs {
				t.Errorf("composefs image %s, want %s", back.Rootfs, pulled.Rootfs)
			}
			for i, l := range back.Image.Layers {
				if l.DiffID != pulled.Image.Layers[i].DiffID || compressionOf(l.Descriptor) != kind {
					t.Errorf("layer %d is %s, %s", i, l.MediaType, l.DiffID)
				}
			}
		})
	}
}

func TestCopyBetweenRepositories(t *testing.T) {
	reg, from, to := newRegistry(t), newRepository(t), newRepository(t)
	reg.push(t, "app:1", makeImage(t, gzipped(t, baseLayer(t)), topLayer(t)))
	pulled, err := Pull(t.Context(), from, reg.source(t, "app:1"), PullOptions{Tags: []string{"app"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Pull(t.Context(), to, NewSource(from, "app"), PullOptions{Tags: []string{"copy"}})
	if err != nil {
		t.Fatal(err)
	}
	if got.Rootfs != pulled.Rootfs || got.Image.Digest != pulled.Image.Digest {
		t.Errorf("copied %s %s, want %s %s", got.Image.Digest, got.Rootfs, pulled.Image.Digest, pulled.Rootfs)
	}
	wantClean(t, to)
	again, err := Pull(t.Context(), to, NewSource(from, "app"), PullOptions{Tags: []string{"copy"}})
	if err != nil || !again.Unchanged {
		t.Errorf("copied again: %+v, %v", again, err)
	}
}
