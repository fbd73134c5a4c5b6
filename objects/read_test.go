package objects

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/go-composefs/composefs/fsverity"
)

func TestVerifyFindsCorruption(t *testing.T) {
	d := openStore(t, Options{})
	got, err := d.PutBytes(t.Context(), pattern(10000))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.Path(), got.Digest.ObjectPath())
	if err := os.WriteFile(path, pattern(9999), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := d.Verify(t.Context(), got.Digest); !errors.Is(err, ErrCorrupt) {
		t.Errorf("error is %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := d.Verify(t.Context(), got.Digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("error is %v", err)
	}
}

func TestOpenBackingStaysInTheStore(t *testing.T) {
	d := openStore(t, Options{})
	if err := os.WriteFile(filepath.Join(filepath.Dir(d.Path()), "secret"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../secret", filepath.Join(d.Path(), "link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(d.Path(), "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"../secret", "/../secret", "link", "//etc/passwd", ".", "", "fifo"} {
		if f, err := d.OpenBacking(path); err == nil {
			t.Errorf("%q opens %s", path, f.Name())
			_ = f.Close()
		}
	}
}

func TestOpenIn(t *testing.T) {
	top := t.TempDir()
	root, err := os.OpenRoot(top)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := OpenIn(root, "objects", Options{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("without Create: error is %v", err)
	}
	if _, err := OpenIn(root, "../objects", Options{Create: true}); err == nil {
		t.Error("a store is made outside")
	}
	d, err := OpenIn(root, "a/objects", Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got, err := d.PutBytes(t.Context(), []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(top, "a/objects", got.Digest.ObjectPath())); err != nil {
		t.Error(err)
	}
	if d.Path() != filepath.Join(top, "a/objects") {
		t.Errorf("its path is %s", d.Path())
	}
}

func TestOpenChecksTheAlgorithm(t *testing.T) {
	alg := fsverity.Algorithm{Hash: fsverity.HashSHA256, BlockBits: 13}
	if _, err := Open(t.TempDir(), Options{Algorithm: alg}); !errors.Is(err, fsverity.ErrAlgorithm) {
		t.Errorf("error is %v", err)
	}
}

func TestHas(t *testing.T) {
	d := openStore(t, Options{})
	got, err := d.PutBytes(t.Context(), []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := fsverity.Sum(fsverity.SHA256, []byte("other"))
	if err != nil {
		t.Fatal(err)
	}
	for digest, want := range map[fsverity.Digest]bool{got.Digest: true, other: false} {
		if has, err := d.Has(digest); err != nil || has != want {
			t.Errorf("%v: %v, %v", digest, has, err)
		}
	}
}

func TestRemoveTemporaries(t *testing.T) {
	d := openStore(t, Options{})
	got, err := d.PutBytes(t.Context(), []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	stay := []string{got.Digest.ObjectPath(), "README", ".tmp-object-short", tempPath(got.Digest.ObjectPath()[:2])}
	now := time.Now()
	for _, name := range append(stay[1:], tempPath("."), tempPath(got.Digest.ObjectPath()[:2])) {
		path := filepath.Join(d.Path(), name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		when := now.Add(-2 * time.Hour)
		if name == stay[3] {
			when = now
		}
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.RemoveTemporaries(now.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	left := files(t, d)
	slices.Sort(stay)
	slices.Sort(left)
	if !slices.Equal(left, stay) {
		t.Errorf("the store has %q, want %q", left, stay)
	}
}
