package repository

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/splitstream"
	"github.com/go-composefs/composefs/tree"
)

// fill puts one of everything into a repository, with and without names, and leaves in it what only
// this package knows. It returns the layers, of which the last one has no name.
func fill(t *testing.T, r *Repository) (layers [][]byte) {
	t.Helper()
	dir := rootfs(t)
	tx := begin(t, r)
	plain := scanTo(t, tx, dir)
	for _, name := range []string{"plain", "deep/er/name"} {
		if err := tx.TagImage(name, plain); err != nil {
			t.Fatal(err)
		}
	}
	for seed := range uint64(3) {
		layers = append(layers, tarLayer(t, seed))
	}
	first := putLayer(t, tx, layers[0])
	second := putLayer(t, tx, layers[1])
	putLayer(t, tx, layers[2])
	config := []byte(`{"os":"linux"}`)
	stored, err := tx.Objects().PutBytes(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	w := splitstream.NewWriter(splitstream.WriterOptions{Algorithm: r.Algorithm(), ContentType: splitstream.Config})
	w.Object(stored.Digest, int64(len(config)))
	w.NamedRef(shaOf(layers[1]), second)
	id := "oci-config-" + shaOf(config)
	if _, err := tx.PutStream(t.Context(), id, w); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tx.TagStream("a/config", id), tx.TagStream("layer", "oci-layer-"+shaOf(layers[0]))); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first == second {
		t.Fatal("two layers have the same stream")
	}

	importFiles(t, r, files{"a": "of an image without a name"})
	aborted := begin(t, r)
	putFiles(t, aborted, files{"a": "of a transaction that was aborted"})
	lease, err := r.NewLease(t.Context(), "test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(aborted.Abort(), lease.Abandon(), os.Mkdir(filepath.Join(r.Path(), quarantineDir), 0o700),
		os.WriteFile(filepath.Join(r.Path(), quarantineDir, "file"), []byte("bad"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return layers
}

// scanTo puts an image of a directory as cfsctl create-image does.
func scanTo(t *testing.T, tx *Transaction, path string) fsverity.Digest {
	t.Helper()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	root, err := tree.Scan(t.Context(), dir, tree.ScanOptions{Sink: tx, Hardlinks: true})
	if err != nil {
		t.Fatal(err)
	}
	digest, err := tx.PutTree(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// putLayer puts a layer as importers do.
func putLayer(t *testing.T, tx *Transaction, archive []byte) fsverity.Digest {
	t.Helper()
	w := tx.NewStream(splitstream.Layer)
	_, err := layer.Read(t.Context(), bytes.NewReader(archive), layer.Options{Store: tx.Objects(), Stream: w})
	if err != nil {
		t.Fatal(err)
	}
	digest, err := tx.PutStream(t.Context(), "oci-layer-"+shaOf(archive), w)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// What composefs-rs reads of a layer are headers that must not be divided among chunks, however
// many of them an entry has.
func TestCfsctlReadsLayersOfTar(t *testing.T) {
	dir := rootfs(t)
	long := filepath.Join(dir, strings.Repeat("n", 150))
	if err := os.MkdirAll(long, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		content := strings.Repeat("a line\n", i%20)
		if err := os.WriteFile(filepath.Join(long, fmt.Sprint(strings.Repeat("f", 120), i)), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, format := range []string{"gnu", "posix"} {
		out, err := exec.Command("tar", "--format="+format, "-C", dir, "-cf", "-", ".").Output()
		if err != nil {
			t.Fatal(err)
		}
		r := newRepository(t, fsverity.SHA256)
		tx := begin(t, r)
		putLayer(t, tx, out)
		if err := tx.TagStream("layer", "oci-layer-"+shaOf(out)); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		c := newCfsctl(t, r.Path())
		if c.run(t, "oci", "layer", shaOf(out)) != string(out) {
			t.Errorf("%s: cfsctl gives back another tar", format)
		}
		if got := strings.Count(c.run(t, "oci", "layer", "--dumpfile", shaOf(out)), "\n"); got < 2000 {
			t.Errorf("%s: cfsctl finds %d entries", format, got)
		}
		c.wantSound(t)
	}
}

func TestCfsctlUsesRepositoriesOfThisPackage(t *testing.T) {
	bothAlgorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		r := newRepository(t, alg)
		c := newCfsctl(t, r.Path())
		layers := fill(t, r)
		c.wantSound(t)
		want := namedImages(t, r)
		if diff := gocmp.Diff(want, c.images(t)); diff != "" || len(want) != 2 {
			t.Errorf("images (-here +cfsctl):\n%s", diff)
		}
		digest, err := r.ResolveImage("plain")
		if err != nil {
			t.Fatal(err)
		}
		refs, err := r.imageObjects(digest)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{digest.String(), "refs/plain", "plain", "refs/deep/er/name"} {
			if got := strings.Fields(c.run(t, "image-objects", name)); len(got) != len(refs) {
				t.Errorf("cfsctl finds the objects %v in %s, want %v", got, name, refs)
			}
		}
		for i, layer := range layers {
			if c.run(t, "cat", "oci-layer-"+shaOf(layer)) != string(layer) {
				t.Errorf("cfsctl cat does not give the layer %d", i)
			}
			if c.run(t, "oci", "layer", shaOf(layer)) != string(layer) {
				t.Errorf("cfsctl oci layer does not give the layer %d", i)
			}
			// This reads the headers of the tar.
			if got := c.run(t, "oci", "layer", "--dumpfile", shaOf(layer)); strings.Count(got, "/usr/") < 8 {
				t.Errorf("cfsctl finds in the layer %d:\n%s", i, got)
			}
		}
		for name, want := range map[string]string{"refs/layer": string(layers[0]), "refs/a/config": `{"os":"linux"}`} {
			if got := c.run(t, "cat", name); got != want {
				t.Errorf("cfsctl cat %s gives %.100q", name, got)
			}
		}
	})
}

func TestCfsctlAddsToRepositoriesOfThisPackage(t *testing.T) {
	bothAlgorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		r := newRepository(t, alg)
		c := newCfsctl(t, r.Path())
		fill(t, r)
		c.fill(t)
		c.wantSound(t)
		if diff := gocmp.Diff(c.images(t), namedImages(t, r)); diff != "" {
			t.Errorf("images (-cfsctl +here):\n%s", diff)
		}
		wantWhole(t, r)
		collect(t, r, CollectOptions{})
		c.wantSound(t)
		wantWhole(t, r)
	})
}

func TestCfsctlFindsRepositoriesOfThisPackageInitialized(t *testing.T) {
	bothAlgorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		r := newRepository(t, alg)
		c := newCfsctl(t, r.Path())
		before := snapshot(t, r.Path())
		if out := c.run(t, "init", "--insecure", "--algorithm", alg.String()); !strings.Contains(out, "already initialized") {
			t.Errorf("init: %s", out)
		}
		if out := c.run(t, "init", "--ensure", "--algorithm", alg.String(), "--erofs-version", "2"); !strings.Contains(out, "preserved") {
			t.Errorf("init --ensure: %s", out)
		}
		c.refuse(t, "init", "--insecure", "--algorithm", alg.String(), "--erofs-version", "2")
		if diff := gocmp.Diff(before, snapshot(t, r.Path())); diff != "" {
			t.Errorf("that has changed (-before +after):\n%s", diff)
		}
	})
}

func TestSameDirectoryHasSameImageAsWithCfsctl(t *testing.T) {
	bothAlgorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		dir := rootfs(t)
		// Both shall have nothing that composefs-rs changes in images for containers.
		asUsr(t, dir)
		for version, format := range formatsByVersion {
			c := initCfsctl(t, alg, "--erofs-version", version)
			path := filepath.Join(t.TempDir(), "repo")
			if _, err := Create(path, CreateOptions{Algorithm: alg, Format: format, Insecure: true}); err != nil {
				t.Fatal(err)
			}
			tx := begin(t, open(t, path))
			want := scanTo(t, tx, dir).String()
			plain := []string{"--no-propagate-usr-to-root", dir}
			container := []string{"--xattrs", "keep-user-xattrs", dir}
			for _, args := range [][]string{plain, container} {
				got := strings.TrimSpace(c.run(t, append([]string{"create-image"}, args...)...))
				if got != alg.Hash.String()+":"+want {
					t.Errorf("V%s: cfsctl create-image %q: %s, want %s", version, args, got, want)
				}
				got = strings.TrimSpace(c.run(t, append([]string{"--erofs-version", version, "compute-id"}, args...)...))
				if got != want {
					t.Errorf("V%s: cfsctl compute-id %q: %s, want %s", version, args, got, want)
				}
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			// Not only the names are the same.
			ours, theirs := objectsOf(t, path), objectsOf(t, c.path)
			if diff := gocmp.Diff(theirs, ours); diff != "" {
				t.Errorf("V%s: objects (-cfsctl +here):\n%s", version, diff)
			}
		}
	})
}

// asUsr gives a directory the attributes of its usr.
func asUsr(t *testing.T, dir string) {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, "usr"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(dir, info.Mode().Perm()), os.Chtimes(dir, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
}

func objectsOf(t *testing.T, path string) map[string]string {
	t.Helper()
	return snapshot(t, filepath.Join(path, objectsDir))
}

func TestCfsctlRefusesRepositoriesWithOtherStores(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	c := newCfsctl(t, r.Path())
	other := newRepository(t, fsverity.SHA256)
	importFiles(t, other, files{"a": "in the other store"}, "name")
	if err := SetStores(r.Path(), []string{other.Path()}); err != nil {
		t.Fatal(err)
	}
	if got := c.refuse(t, "images"); !strings.Contains(got, FeatureStores) {
		t.Errorf("cfsctl does not say why: %s", got)
	}
	if err := SetStores(r.Path(), nil); err != nil {
		t.Fatal(err)
	}
	c.wantSound(t)
}

func TestCfsctlMountsImagesOfThisPackage(t *testing.T) {
	testenv.Root(t)
	bothAlgorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		r := newRepository(t, alg)
		c := newCfsctl(t, r.Path())
		dir, at := rootfs(t), t.TempDir()
		tx := begin(t, r)
		digest := scanTo(t, tx, dir)
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.run(t, "mount", digest.String(), at)
		defer func() {
			if err := unix.Unmount(at, 0); err != nil {
				t.Error(err)
			}
		}()
		if diff := gocmp.Diff(readTree(t, dir), readTree(t, at)); diff != "" {
			t.Errorf("the mount is not the directory (-directory +mount):\n%s", diff)
		}
		// The kernel has the image open: nobody may take it away, though it has no name.
		got := collect(t, r, CollectOptions{})
		if !slices.Equal(got.InUse, []fsverity.Digest{digest}) || got.Objects > 0 {
			t.Errorf("of the image that cfsctl has mounted went %+v", got)
		}
	})
}

// readTree returns what readers see of a directory.
func readTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	seen := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, dir)
		seen[name] = fmt.Sprint(info.Mode(), info.ModTime().Unix())
		switch {
		case e.Type().IsRegular():
			data, err := os.ReadFile(path)
			seen[name] += " " + shaOf(data)
			return err
		case e.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			seen[name] += " " + target
			return err
		}
		var value [2000]byte
		n, err := unix.Getxattr(path, "user.b", value[:])
		if err == nil {
			seen[name] += string(bytes.TrimRight(value[:n], "v"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}
