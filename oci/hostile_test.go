package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/internal/faultyregistry"
	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/repository"
)

// bigLayer is a layer that takes more than a moment to read and that nothing makes smaller.
func bigLayer(t testing.TB) []byte {
	t.Helper()
	data := make([]byte, 300_000)
	_, _ = rand.Read(data) // never fails
	return makeTar(t, dir("usr/"), file{name: "usr/random", content: string(data)})
}

func TestPullFromAFaultyRegistry(t *testing.T) {
	for name, tc := range map[string]struct {
		rule faultyregistry.Rule
		fine bool // it is got over
	}{
		"connections break":       {faultyregistry.Rule{Path: "/blobs/", Times: 2, Fault: faultyregistry.Drop(100_000)}, true},
		"connections are refused": {faultyregistry.Rule{Times: 2, Fault: faultyregistry.Refuse()}, true},
		"it ends too early":       {faultyregistry.Rule{Path: "/blobs/", Times: 1, Fault: faultyregistry.Short(50_000)}, true},
		"too many requests":       {faultyregistry.Rule{Times: 2, Fault: faultyregistry.Status(http.StatusTooManyRequests)}, true},
		"it is out of order":      {faultyregistry.Rule{Times: 2, Fault: faultyregistry.Status(http.StatusBadGateway)}, true},
		"it stalls":               {faultyregistry.Rule{Path: "/blobs/", Times: 1, Fault: faultyregistry.Stall(1000)}, true},
		"blobs are other ones":    {faultyregistry.Rule{Path: "/blobs/", Fault: faultyregistry.Corrupt(100)}, false},
		"manifests are others":    {faultyregistry.Rule{Path: "/manifests/", Fault: faultyregistry.Corrupt(30)}, false},
		"it is always broken":     {faultyregistry.Rule{Fault: faultyregistry.Status(http.StatusInternalServerError)}, false},
		"it leads in circles":     {faultyregistry.Rule{Path: "/blobs/", Fault: faultyregistry.RedirectLoop()}, false},
		"blobs never end":         {faultyregistry.Rule{Path: "/blobs/", Fault: faultyregistry.Endless(-1, "application/octet-stream")}, false},
		"manifests never end":     {faultyregistry.Rule{Path: "/manifests/", Fault: faultyregistry.Endless(-1, "application/json")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			reg, r := newRegistry(t), newRepository(t)
			reg.push(t, "app:1", makeImage(t, gzipped(t, bigLayer(t)), gzipped(t, topLayerAlone(t))))
			reg.Plan(tc.rule)
			got, err := Pull(t.Context(), r, reg.source(t, "app:1"), PullOptions{Tags: []string{"app"}})
			if tc.fine != (err == nil) {
				t.Fatalf("pulled %v, %v", got, err)
			}
			if _, errOpen := Open(t.Context(), r, "app"); (errOpen == nil) != tc.fine {
				t.Errorf("the image has its name: %v", errOpen)
			}
			wantClean(t, r)
			reg.Reset()
			if _, err := Pull(t.Context(), r, reg.source(t, "app:1"), PullOptions{Tags: []string{"app"}}); err != nil {
				t.Errorf("when the registry is well again: %v", err)
			}
			wantClean(t, r)
		})
	}
}

func topLayerAlone(t testing.TB) []byte {
	t.Helper()
	return makeTar(t, dir("usr/"), file{name: "usr/other", content: long})
}

// TestDiffIDThatIsALie is about a config that says another diff_id than the layer has: whoever believed it would give
// the layer to all images that have that diff_id.
func TestDiffIDThatIsALie(t *testing.T) {
	reg, r := newRegistry(t), newRepository(t)
	honest := makeImage(t, gzipped(t, topLayerAlone(t)))
	liar := makeImage(t, gzipped(t, makeTar(t, dir("usr/"), file{name: "usr/other", content: "planted" + long})))
	want, err := honest.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config, err := liar.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.RootFS.DiffIDs = want.RootFS.DiffIDs
	if liar, err = mutate.ConfigFile(liar, config); err != nil {
		t.Fatal(err)
	}
	reg.push(t, "liar:1", liar)
	reg.push(t, "honest:1", honest)
	if _, err := Pull(t.Context(), r, reg.source(t, "liar:1"), PullOptions{Tags: []string{"liar"}}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("the liar: %v", err)
	}
	got, err := Pull(t.Context(), r, reg.source(t, "honest:1"), PullOptions{Tags: []string{"honest"}})
	if err != nil {
		t.Fatal(err)
	}
	if got.Stats.Layers != 1 {
		t.Errorf("stats %+v: the layer was there already", got.Stats)
	}
	v, err := Verify(t.Context(), r, got.Image, VerifyOptions{Data: true})
	if err != nil || v.Layers != 1 {
		t.Errorf("verified %+v, %v", v, err)
	}
}

// stopAfter ends a context when some layers are done.
type stopAfter struct {
	silent
	left atomic.Int32
	stop context.CancelFunc
}

func (s *stopAfter) End(_ digest.Digest, how Outcome) {
	if how == OutcomeMoved && s.left.Add(-1) == 0 {
		s.stop()
	}
}

func TestInterruptedPullGoesOn(t *testing.T) {
	reg, r := newRegistry(t), newRepository(t)
	var layers [][]byte
	for range 5 {
		layers = append(layers, gzipped(t, bigLayer(t)))
	}
	reg.push(t, "app:1", makeImage(t, layers...))
	ctx, cancel := context.WithCancel(t.Context())
	stop := &stopAfter{stop: cancel}
	stop.left.Store(3)
	opts := PullOptions{Tags: []string{"app"}, Jobs: 1, Progress: stop, Name: "docker://registry.example/app:1"}
	if _, err := Pull(ctx, r, reg.source(t, "app:1"), opts); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	if _, err := Open(t.Context(), r, "app"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the image has its name: %v", err)
	}
	// Nobody needs the layers, but they are leased.
	if _, err := r.Collect(t.Context(), repository.CollectOptions{}); err != nil {
		t.Fatal(err)
	}
	reg.Reset()
	opts.Progress = nil
	got, err := Pull(t.Context(), r, reg.source(t, "app:1"), opts)
	if err != nil {
		t.Fatal(err)
	}
	if got.Stats.Layers != 2 || got.Stats.LayersPresent != 3 {
		t.Errorf("stats %+v, want 2 layers fetched and 3 here", got.Stats)
	}
	leases, err := r.Leases()
	if err != nil || len(leases) > 0 {
		t.Errorf("leases are left: %+v, %v", leases, err)
	}
	wantClean(t, r)
}

func TestHostileLayers(t *testing.T) {
	link := func(kind byte, name, target string) file {
		return file{name: name, header: tar.Header{Typeflag: kind, Linkname: target}}
	}
	for name, tc := range map[string]struct {
		files []file
		says  string
	}{
		"a name that leads out":    {[]file{{name: "usr/../../etc/passwd", content: "x"}}, "usr/../../etc/passwd"},
		"a hard link outward":      {[]file{link(tar.TypeLink, "usr/x", "../../etc/passwd")}, "usr/x"},
		"a hard link to nothing":   {[]file{link(tar.TypeLink, "usr/x", "usr/none")}, "usr/x"},
		"a hard link to its own":   {[]file{link(tar.TypeLink, "usr/x", "usr/x")}, "usr/x"},
		"a parent that is a file":  {[]file{{name: "usr/f", content: "x"}, {name: "usr/f/x", content: "x"}}, "usr/f/x"},
		"symlinks without end":     {[]file{link(tar.TypeSymlink, "usr/a", "b"), link(tar.TypeSymlink, "usr/b", "a"), {name: "usr/a/x", content: "x"}}, "usr/a/x"},
		"a device of huge numbers": {[]file{{name: "usr/d", header: tar.Header{Typeflag: tar.TypeChar, Devmajor: 1 << 20}}}, "usr/d"},
	} {
		t.Run(name, func(t *testing.T) {
			reg, r := newRegistry(t), newRepository(t)
			reg.push(t, "app:1", makeImage(t, gzipped(t, makeTar(t, append([]file{dir("usr/")}, tc.files...)...))))
			_, err := Pull(t.Context(), r, reg.source(t, "app:1"), PullOptions{Tags: []string{"app"}})
			if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "layer") {
				t.Errorf("got %v, want an error that names the layer and %q", err, tc.says)
			}
			if _, err := Open(t.Context(), r, "app"); !errors.Is(err, ErrNotFound) {
				t.Errorf("the image has its name: %v", err)
			}
		})
	}
}

// zeros is a tar with a file of zeros, which is small when it is compressed.
func zeros(t testing.TB, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "usr/zeros", Typeflag: tar.TypeReg, Mode: 0o644, Size: size}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeroReader{}, size); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return gzipped(t, b.Bytes())
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestBombsAreRefused(t *testing.T) {
	reg, r := newRegistry(t), newRepository(t)
	reg.push(t, "bomb:1", makeImage(t, zeros(t, 80<<20)))
	for name, limits := range map[string]Limits{
		"by their size":    {LayerSize: 70 << 20},
		"by their ratio":   {LayerRatio: 10},
		"by their entries": {MaxEntries: 1},
	} {
		t.Run(name, func(t *testing.T) {
			image := "bomb:1"
			if limits.MaxEntries > 0 {
				image = "many:1"
				reg.push(t, image, makeImage(t, gzipped(t, topLayerAlone(t))))
			}
			_, err := Pull(t.Context(), r, reg.source(t, image), PullOptions{Tags: []string{"bomb"}, Limits: limits})
			if !errors.Is(err, layer.ErrLimit) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := Pull(t.Context(), r, reg.source(t, "bomb:1"), PullOptions{Tags: []string{"bomb"}}); err != nil {
		t.Errorf("within the usual limits: %v", err)
	}
}

func TestPullsBesideCollections(t *testing.T) {
	reg, r := newRegistry(t), newRepository(t)
	var images []v1.Image
	shared := gzipped(t, bigLayer(t))
	for range 4 {
		images = append(images, makeImage(t, shared, gzipped(t, bigLayer(t))))
	}
	names := []string{"a:1", "b:1", "c:1", "d:1"}
	for i, img := range images {
		reg.push(t, names[i], img)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	done := make(chan error, len(names)+1)
	go func() {
		for ctx.Err() == nil {
			if _, err := r.Collect(ctx, repository.CollectOptions{}); err != nil && ctx.Err() == nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for _, name := range names {
		from := reg.source(t, name)
		go func() {
			for ctx.Err() == nil {
				if _, err := Pull(ctx, r, from, PullOptions{Tags: []string{name}}); err != nil && ctx.Err() == nil {
					done <- err
					return
				}
				if err := Untag(ctx, r, name); err != nil && ctx.Err() == nil && !errors.Is(err, ErrNotFound) {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range len(names) + 1 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	wantClean(t, r)
}
