//go:build linux

package objects

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/testenv"
)

func openStore(t testing.TB, opts Options) *Dir {
	t.Helper()
	opts.Create = true
	d, err := Open(filepath.Join(t.TempDir(), "a", "store"), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func tempFile(t testing.TB, data []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func pattern(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i*7 + i>>9)
	}
	return data
}

// files lists every regular file below the store.
func files(t testing.TB, d *Dir) []string {
	t.Helper()
	var list []string
	err := fs.WalkDir(os.DirFS(d.Path()), ".", func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func checkObject(t *testing.T, d *Dir, digest fsverity.Digest, want []byte) {
	t.Helper()
	f, err := d.OpenObject(digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("object has %d bytes (%v), want %d", len(got), err, len(want))
	}
	if err := d.Verify(t.Context(), digest); err != nil {
		t.Error(err)
	}
}

func TestPut(t *testing.T) {
	for _, alg := range []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512} {
		d := openStore(t, Options{Algorithm: alg, Verity: VerityTry})
		for _, n := range []int{0, 1, 4096, smallMax, smallMax + 1, 3<<20 + 17} {
			data := pattern(n)
			for i, existing := range []bool{false, true} {
				got, err := d.Put(t.Context(), tempFile(t, data), int64(n))
				if err != nil {
					t.Fatal(err)
				}
				if want, _ := fsverity.Sum(alg, data); got.Digest != want || got.Existing != existing {
					t.Errorf("%d bytes, time %d: %+v, want %v", n, i, got, want)
				}
				checkObject(t, d, got.Digest, data)
			}
		}
		if err := d.Sync(); err != nil {
			t.Error(err)
		}
		if got := files(t, d); len(got) != 6 {
			t.Errorf("the store has %q", got)
		}
	}
}

func TestPutKeepsHoles(t *testing.T) {
	d := openStore(t, Options{})
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 300 << 20
	if _, err := f.WriteAt([]byte("end"), size-3); err != nil {
		t.Fatal(err)
	}
	got, err := d.Put(t.Context(), f, size)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Verify(t.Context(), got.Digest); err != nil {
		t.Error(err)
	}
	if used := diskUsage(t, filepath.Join(d.Path(), got.Digest.ObjectPath())); used > 1<<20 {
		t.Errorf("a file of holes takes %d bytes of the store", used)
	}
}

func TestPutRepairsAnObject(t *testing.T) {
	for _, n := range []int{1000, smallMax + 1000} {
		for name, harm := range map[string]func(path string) error{
			"other content": func(path string) error { return os.WriteFile(path, make([]byte, n), 0o644) },
			"short":         func(path string) error { return os.Truncate(path, 10) },
			"symlink": func(path string) error {
				return errors.Join(os.Remove(path), os.Symlink("/etc/passwd", path))
			},
		} {
			t.Run(fmt.Sprintf("%s %d", name, n), func(t *testing.T) {
				d := openStore(t, Options{})
				data := pattern(n)
				first, err := d.Put(t.Context(), tempFile(t, data), int64(n))
				if err != nil {
					t.Fatal(err)
				}
				if err := harm(filepath.Join(d.Path(), first.Digest.ObjectPath())); err != nil {
					t.Fatal(err)
				}
				again, err := Open(d.Path(), Options{}) // one that has not checked it yet
				if err != nil {
					t.Fatal(err)
				}
				defer again.Close()
				if _, err := again.Put(t.Context(), tempFile(t, data), int64(n)); err != nil {
					t.Fatal(err)
				}
				checkObject(t, d, first.Digest, data)
				if got := files(t, d); len(got) != 1 {
					t.Errorf("the store has %q", got)
				}
			})
		}
	}
}

func TestPutOfAnotherSize(t *testing.T) {
	d := openStore(t, Options{})
	for _, n := range []int{10, smallMax, 2 * smallMax} {
		for _, size := range []int{n - 1, n + 1} {
			if _, err := d.Put(t.Context(), tempFile(t, pattern(n)), int64(size)); !errors.Is(err, ErrChanged) {
				t.Errorf("%d bytes taken for %d: error is %v", n, size, err)
			}
		}
	}
	if got := files(t, d); len(got) != 0 {
		t.Errorf("the store has %q", got)
	}
}

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
	for _, path := range []string{"../secret", "/../secret", "link", "//etc/passwd", ".", ""} {
		if f, err := d.OpenBacking(path); err == nil {
			t.Errorf("%q opens %s", path, f.Name())
			_ = f.Close()
		}
	}
}

func TestAllAndConcurrentPuts(t *testing.T) {
	d := openStore(t, Options{})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 200 {
				if _, err := d.PutBytes(t.Context(), fmt.Append(nil, (i+worker*25)%200)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := os.WriteFile(filepath.Join(d.Path(), "README"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	n := 0
	for digest, err := range d.All() {
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Verify(t.Context(), digest); err != nil {
			t.Error(err)
		}
		n++
	}
	if n != 200 {
		t.Errorf("the store has %d objects, want 200", n)
	}
}

func TestVerityRequireWithoutFilesystem(t *testing.T) {
	d := openStore(t, Options{Verity: VerityRequire})
	_, err := d.PutBytes(t.Context(), []byte("data"))
	if err == nil {
		t.Skip("needs a filesystem without fs-verity: this one has it")
	}
	if !errors.Is(err, fsverity.ErrNoVerity) {
		t.Errorf("error is %v", err)
	}
	if got := files(t, d); len(got) != 0 {
		t.Errorf("the store has %q", got)
	}
}

// TestFullDisk fills a small filesystem: nothing partial may stay, under any name.
func TestFullDisk(t *testing.T) {
	testenv.Root(t)
	dir := smallDisk(t, 1<<20)
	d, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var failed error
	for i := 0; failed == nil && i < 100; i++ {
		_, failed = d.PutBytes(t.Context(), slices.Repeat(fmt.Append(nil, i, " "), 10000))
	}
	if failed == nil {
		t.Fatal("the disk is never full")
	}
	for digest, err := range d.All() {
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Verify(t.Context(), digest); err != nil {
			t.Error(err)
		}
	}
	for _, f := range files(t, d) {
		if len(f) != 65 {
			t.Errorf("left behind: %s", f)
		}
	}
}

func TestWithoutUnnamedFiles(t *testing.T) {
	d := openStore(t, Options{})
	d.named = true
	for range 2 {
		got, err := d.PutBytes(t.Context(), pattern(5000))
		if err != nil {
			t.Fatal(err)
		}
		checkObject(t, d, got.Digest, pattern(5000))
		d.checked.Clear()
		path := filepath.Join(d.Path(), got.Digest.ObjectPath())
		if err := os.Truncate(path, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(d.Path(), tempName()), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.RemoveTemporaries(); err != nil {
		t.Fatal(err)
	}
	if got := files(t, d); len(got) != 1 {
		t.Errorf("the store has %q", got)
	}
}

func BenchmarkPut(b *testing.B) {
	for _, kind := range []string{"new", "existing"} {
		b.Run(kind, func(b *testing.B) {
			d := openStore(b, Options{})
			data := pattern(16 << 10)
			b.SetBytes(int64(len(data)))
			for i := 0; b.Loop(); i++ {
				if kind == "new" {
					copy(data, fmt.Sprint(i))
				} else {
					d.checked.Clear()
				}
				if _, err := d.PutBytes(b.Context(), data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
