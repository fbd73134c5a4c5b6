package crash

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/repository"
)

// containerLayout makes a layout with an image, "app", of two layers that share a file with the image "old".
func containerLayout(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "layout")
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, files := range []map[string]string{
		{"usr/shared": strings.Repeat("shared", 100), "usr/new": strings.Repeat("new", 100)},
		{"usr/more": strings.Repeat("more", 1<<20), "usr/.wh.new": ""},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for name, data := range files {
			err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(data))})
			if _, errWrite := io.WriteString(w, data); err != nil || errWrite != nil {
				t.Fatal(errors.Join(err, errWrite))
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
			tarball.WithMediaType(types.OCILayer))
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	l, err := layout.Write(path, empty.Index)
	if err == nil {
		err = l.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "app"}))
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// tags returns the names of container images, each of which must be of use.
func (s *scene) tags() []string {
	s.t.Helper()
	r, err := repository.Open(s.repo, repository.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	list, err := oci.List(s.t.Context(), r)
	if err != nil {
		s.t.Fatal(err)
	}
	var tags []string
	for _, t := range list {
		if t.Err != nil {
			s.t.Error(t.Err)
		}
		tags = append(tags, t.Tags...)
	}
	return tags
}

func TestRepositoryStaysWholeWhateverHappensToAPull(t *testing.T) {
	if testing.Short() {
		t.Skip("what it hurts is a program")
	}
	s := newScene(t)
	source := containerLayout(t)
	faults(t, func(t *testing.T, err syscall.Errno) {
		s.t = t
		args := []string{"pull", "--quiet", "--repo", s.repo, "--jobs", "1", "oci:" + source + ":app", "app"}
		eachFault(t, err, 60, func(hurt fault) int {
			s.reset()
			return s.run(hurt, args...)
		}, func(fault) {
			if refs := s.refs(); refs["old"] == "" {
				t.Errorf("refs: %v", refs)
			}
			if tags := s.tags(); len(tags) > 0 && tags[0] != "app" {
				t.Errorf("container images: %q", tags)
			}
			s.must("gc", "--repo", s.repo)
			s.must("fsck", "--repo", s.repo)
			s.must(args...)
			s.must("verify", "--repo", s.repo, "app")
		})
	})
}
