package repository

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
)

// legacyOf removes what makes a repository newer than meta.json.
func legacyOf(t *testing.T, path string) string {
	t.Helper()
	if err := os.Remove(filepath.Join(path, metaName)); err != nil {
		t.Fatal(err)
	}
	return path
}

// times returns when each file and directory was changed last.
func times(t *testing.T, path string) map[string]time.Time {
	t.Helper()
	changed := map[string]time.Time{}
	err := filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil {
			changed[name] = info.ModTime()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func TestLegacyRepositoryIsNotWrittenTo(t *testing.T) {
	bothAlgorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		made := newRepository(t, alg)
		digest := importFiles(t, made, files{"a": "content"}, "name", "deep/er/name")
		path := legacyOf(t, made.Path())
		before, changed := snapshot(t, path), times(t, path)

		r := open(t, path)
		if !r.Legacy() || r.Algorithm() != alg || r.RequiresVerity() || r.Meta().Format() != erofs.FormatV2 {
			t.Errorf("it is legacy: %v, %v, verity %v, %v", r.Legacy(), r.Algorithm(), r.RequiresVerity(), r.Meta().Format())
		}
		if got := namedImages(t, r); got["name"] != digest.String() || len(got) != 2 {
			t.Errorf("images are %v", got)
		}
		img, err := r.OpenImage("deep/er/name")
		if err != nil {
			t.Fatal(err)
		}
		if refs, err := img.Objects(); err != nil || len(refs) != 1 {
			t.Errorf("its objects are %v, %v", refs, err)
		}
		if err := img.Close(); err != nil {
			t.Fatal(err)
		}
		wantWhole(t, r)
		for what, err := range changes(t, r) {
			if !errors.Is(err, ErrLegacy) {
				t.Errorf("%s: %v, want ErrLegacy", what, err)
			}
		}
		if _, err := Create(path, CreateOptions{Algorithm: alg, Insecure: true}); !errors.Is(err, ErrLegacy) {
			t.Errorf("create: %v, want ErrLegacy", err)
		}
		if diff := gocmp.Diff(before, snapshot(t, path)); diff != "" {
			t.Errorf("something was written (-before +after):\n%s", diff)
		}
		if diff := gocmp.Diff(changed, times(t, path)); diff != "" {
			t.Errorf("something was changed (-before +after):\n%s", diff)
		}
	})
}

func TestUpgradeSaysWhatTheRepositoryIs(t *testing.T) {
	bothAlgorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		made := newRepository(t, alg)
		importFiles(t, made, files{"a": "content"}, "name")
		path := legacyOf(t, made.Path())
		before := snapshot(t, path)
		if upgraded, err := Upgrade(path); err != nil || !upgraded {
			t.Fatalf("upgraded: %v, %v", upgraded, err)
		}
		r := open(t, path)
		if r.Legacy() || r.Algorithm() != alg || r.Meta().Format() != erofs.FormatV2 || r.RequiresVerity() {
			t.Errorf("it is now legacy: %v, %+v", r.Legacy(), r.Meta())
		}
		importFiles(t, r, files{"a": "more"}, "more")
		if upgraded, err := Upgrade(path); err != nil || upgraded {
			t.Errorf("upgraded again: %v, %v", upgraded, err)
		}
		after := snapshot(t, path)
		for name, content := range before {
			if after[name] != content && name != lockName { // that knows that links were made
				t.Errorf("%s was %s and is %q", name, content, after[name])
			}
		}
	})
}

func TestDirectoryIsNoLegacyRepository(t *testing.T) {
	for name, dirs := range map[string][]string{
		"empty": nil, "objects, but none": {"objects"}, "directories of objects, but none": {"objects/00", "objects/ff"},
		"images without objects": {"images/refs"},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			for _, dir := range dirs {
				if err := os.MkdirAll(filepath.Join(path, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Open(path, Options{}); !errors.Is(err, ErrNotRepository) {
				t.Errorf("open: %v, want ErrNotRepository", err)
			}
			if _, err := Upgrade(path); !errors.Is(err, ErrNotRepository) {
				t.Errorf("upgrade: %v, want ErrNotRepository", err)
			}
		})
	}
}

func TestCfsctlUsesUpgradedRepositories(t *testing.T) {
	bothAlgorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		c := initCfsctl(t, alg, "--erofs-version", "2")
		layers, dir := c.fill(t), rootfs(t)
		images, digest := c.images(t), c.run(t, "create-image", dir, "again")
		images["again"] = strings.TrimPrefix(strings.TrimSpace(digest), alg.Hash.String()+":")
		legacyOf(t, c.path)
		before := snapshot(t, c.path)

		r := open(t, c.path)
		if diff := gocmp.Diff(images, namedImages(t, r)); diff != "" {
			t.Errorf("images (-cfsctl +here):\n%s", diff)
		}
		wantWhole(t, r)
		wantStreams(t, r)
		if diff := gocmp.Diff(before, snapshot(t, c.path)); diff != "" {
			t.Fatalf("something was written (-before +after):\n%s", diff)
		}

		if _, err := Upgrade(c.path); err != nil {
			t.Fatal(err)
		}
		c.wantSound(t)
		if diff := gocmp.Diff(images, c.images(t)); diff != "" {
			t.Errorf("images (-before +upgraded):\n%s", diff)
		}
		if again := c.run(t, "create-image", dir); again != digest {
			t.Errorf("the image of a directory is now %s, was %s", again, digest)
		}
		for _, layer := range layers {
			if c.run(t, "oci", "layer", shaOf(layer)) != string(layer) {
				t.Errorf("a layer is not what it was")
			}
		}
	})
}

// oldHeader returns a splitstream with its header as bootc until 1.15 wrote it.
func oldHeader(file []byte) []byte {
	magic, version, flags, kind, info := file[:11], file[11:12], file[12:14], file[14:16], file[16:32]
	return slices.Concat(info, flags, magic, version, kind, file[32:])
}

// makeStreamsOld gives all streams of a repository, in which nobody works, the old header.
func makeStreamsOld(t *testing.T, r *Repository) {
	t.Helper()
	l := r.streams()
	entries, err := l.entries()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(r.Path(), objectsDir, e.digest.ObjectPath())
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file = oldHeader(file)
		digest, err := fsverity.Sum(r.Algorithm(), file)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(r.Path(), objectsDir, digest.ObjectPath())
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, file, 0o644),
			os.Remove(path), l.setEntry(e.name, digest)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOldStreamsAreRead(t *testing.T) {
	bothAlgorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		r := newRepository(t, alg)
		tx := begin(t, r)
		layer := tarLayer(t, 1)
		putLayer(t, tx, layer)
		if err := errors.Join(tx.TagStream("old", "oci-layer-"+shaOf(layer)), tx.Commit(t.Context())); err != nil {
			t.Fatal(err)
		}
		makeStreamsOld(t, r)
		if got := collect(t, r, CollectOptions{}); got.Objects > 0 || got.Kept < 5 {
			t.Errorf("removed %+v", got)
		}
		s, err := r.OpenStream("refs/old")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var b bytes.Buffer
		if _, err := s.Copy(t.Context(), &b); err != nil || !bytes.Equal(b.Bytes(), layer) {
			t.Errorf("the layer is not what went in: %v", err)
		}
	})
}

func TestOldStreamsAreReadAsByCfsctl(t *testing.T) {
	bothAlgorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		c := initCfsctl(t, alg)
		for seed := range uint64(3) {
			layer := tarLayer(t, seed)
			c.pipe(t, layer, "oci", "import-layer", shaOf(layer), fmt.Sprint("layers/", seed))
		}
		r := open(t, c.path)
		if err := r.UntagStream(t.Context(), "layers/1"); err != nil {
			t.Fatal(err)
		}
		makeStreamsOld(t, r)
		wantStreams(t, r)
		for _, seed := range []uint64{0, 2} {
			if got := c.run(t, "cat", fmt.Sprint("refs/layers/", seed)); got != string(tarLayer(t, seed)) {
				t.Error("cfsctl reads another layer")
			}
		}
		compareCollectors(t, c.path, nil, CollectOptions{})
	})
}
