package repository

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/splitstream"
)

// Repositories on which both collectors are compared. Each returns one of them, in which nobody works.
var collectables = map[string]func(t *testing.T, alg fsverity.Algorithm) string{
	"of cfsctl": func(t *testing.T, alg fsverity.Algorithm) string {
		c := initCfsctl(t, alg)
		c.fill(t)
		return c.path
	},
	"of this package": func(t *testing.T, alg fsverity.Algorithm) string {
		r := newRepository(t, alg)
		fill(t, r)
		return r.Path()
	},
	"of both": func(t *testing.T, alg fsverity.Algorithm) string {
		r := newRepository(t, alg)
		fill(t, r)
		newCfsctl(t, r.Path()).fill(t)
		if err := r.UntagImage(t.Context(), "deep/er/name"); err != nil {
			t.Fatal(err)
		}
		return r.Path()
	},
	"without refs": func(t *testing.T, alg fsverity.Algorithm) string {
		c := initCfsctl(t, alg)
		c.fill(t)
		for _, kind := range []string{"images", "streams"} {
			if err := os.RemoveAll(filepath.Join(c.path, kind, refsDir)); err != nil {
				t.Fatal(err)
			}
		}
		return c.path
	},
	"with garbage behind garbage": func(t *testing.T, alg fsverity.Algorithm) string {
		r := newRepository(t, alg)
		chain(t, r, "garbage", 5)
		if err := r.TagStream(t.Context(), "kept", chain(t, r, "kept", 5)); err != nil {
			t.Fatal(err)
		}
		return r.Path()
	},
	"empty": func(t *testing.T, alg fsverity.Algorithm) string { return initCfsctl(t, alg).path },
}

// chain puts n streams, each of which names the one before, and returns the last one's id.
func chain(t *testing.T, r *Repository, prefix string, n int) (id string) {
	t.Helper()
	tx := begin(t, r)
	var last fsverity.Digest
	for i := range n {
		data := fmt.Sprint(prefix, i)
		stored, err := tx.Objects().PutBytes(t.Context(), []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		w := splitstream.NewWriter(splitstream.WriterOptions{Algorithm: r.Algorithm(), ContentType: splitstream.Blob})
		w.Object(stored.Digest, int64(len(data)))
		if i > 0 {
			w.NamedRef("before", last)
		}
		id = fmt.Sprintf("oci-blob-%s", shaOf([]byte(data)))
		if last, err = tx.PutStream(t.Context(), id, w); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestCollectRemovesWhatCfsctlRemoves(t *testing.T) {
	for name, fixture := range collectables {
		t.Run(name, func(t *testing.T) {
			bothAlgorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
				path := fixture(t, alg)
				compareCollectors(t, path, nil, CollectOptions{})
			})
		})
	}
}

func TestCollectKeepsRootsAsCfsctlDoes(t *testing.T) {
	bothAlgorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		r := newRepository(t, alg)
		layers := fill(t, r)
		image := importFiles(t, r, files{"a": "named by an option"})
		importFiles(t, r, files{"a": "not named"})
		stream := "oci-layer-" + shaOf(layers[2])
		digest, err := r.streams().entry(stream)
		if err != nil {
			t.Fatal(err)
		}
		compareCollectors(t, r.Path(), []string{"--root", image.String(), "--root", stream},
			CollectOptions{Roots: []string{image.String()}, Keep: []fsverity.Digest{digest}})
	})
}

// compareCollectors collects in copies of a repository, and fails unless they keep the same, and say so
// before.
func compareCollectors(t *testing.T, path string, args []string, opts CollectOptions) {
	t.Helper()
	c, r := newCfsctl(t, copyRepository(t, path)), open(t, copyRepository(t, path))
	before := kept(t, path)
	plan := c.run(t, append([]string{"gc", "--dry-run"}, args...)...)
	dry := opts
	dry.DryRun = true
	planned := collect(t, r, dry)
	if want := fmt.Sprintf("Objects: %d removed (%d bytes)", planned.Objects, planned.Bytes); !strings.Contains(plan, want) {
		t.Errorf("cfsctl would do otherwise than %q: %s", want, plan)
	}
	if diff := gocmp.Diff(before, kept(t, r.Path())); diff != "" {
		t.Errorf("a dry run removed (-before +after):\n%s", diff)
	}
	c.run(t, append([]string{"gc"}, args...)...)
	collect(t, r, opts)
	theirs, ours := kept(t, c.path), kept(t, r.Path())
	if diff := gocmp.Diff(theirs, ours); diff != "" {
		t.Errorf("what is kept (-cfsctl +here):\n%s", diff)
	}
	var objects int
	for _, name := range before {
		if strings.HasPrefix(name, objectsDir) && !slices.Contains(ours, name) {
			objects++
		}
	}
	if objects != planned.Objects {
		t.Errorf("%d objects went, and %d should", objects, planned.Objects)
	}
	for _, path := range []string{c.path, r.Path()} {
		newCfsctl(t, path).wantSound(t)
		r := open(t, path)
		wantWhole(t, r)
		wantStreams(t, r)
		if again := collect(t, r, opts); again.Objects+again.Images+again.Streams > 0 {
			t.Errorf("a second collection removed %+v", again)
		}
	}
}

// wantStreams fails unless every stream that has a name can be had back, with all that it names.
func wantStreams(t *testing.T, r *Repository) {
	t.Helper()
	list, err := r.Streams()
	if err != nil {
		t.Fatal(err)
	}
	ids := map[fsverity.Digest]string{}
	queue := map[string]struct{}{}
	for _, info := range list {
		ids[info.Digest] = info.ID
		if len(info.Refs) > 0 {
			queue[info.ID] = struct{}{}
		}
	}
	for len(queue) > 0 {
		for id := range queue {
			delete(queue, id)
			s, err := r.OpenStream(id)
			if err != nil {
				t.Errorf("stream %s: %v", id, err)
				continue
			}
			if _, err := s.Copy(t.Context(), io.Discard); err != nil {
				t.Errorf("stream %s: %v", id, err)
			}
			for _, ref := range s.NamedRefs() {
				if err := r.objects.Verify(t.Context(), ref.Digest); err != nil {
					t.Errorf("stream %s: %s: %v", id, ref.Name, err)
				}
				if next, ok := ids[ref.Digest]; ok {
					queue[next] = struct{}{}
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
