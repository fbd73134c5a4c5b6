package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/go-composefs/composefs/fsverity"
)

func openStore(t testing.TB, opts Options) *Dir {
	t.Helper()
	opts.Create = true
	return openStoreAt(t, filepath.Join(t.TempDir(), "a", "store"), opts)
}

func openStoreAt(t testing.TB, path string, opts Options) *Dir {
	t.Helper()
	d, err := Open(path, opts)
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

func TestWithoutUnnamedFiles(t *testing.T) {
	d := openStore(t, Options{})
	d.noUnnamed.Store(true)
	for range 2 {
		got, err := d.PutBytes(t.Context(), pattern(5000))
		if err != nil {
			t.Fatal(err)
		}
		checkObject(t, d, got.Digest, pattern(5000))
		path := filepath.Join(d.Path(), got.Digest.ObjectPath())
		if err := os.Truncate(path, 1); err != nil {
			t.Fatal(err)
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

func TestPutReader(t *testing.T) {
	for _, alg := range []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512x64} {
		d := openStore(t, Options{Algorithm: alg})
		for _, n := range []int{0, 1, smallMax - 1, smallMax, smallMax + 1, 2*smallMax + 1, 3 * smallMax} {
			data := pattern(n)
			want, err := fsverity.Sum(alg, data)
			if err != nil {
				t.Fatal(err)
			}
			for _, existing := range []bool{false, true} {
				got, err := d.PutReader(t.Context(), iotest.HalfReader(bytes.NewReader(data)))
				if err != nil || got.Digest != want || got.Existing != existing {
					t.Errorf("%d bytes: %+v, %v; want %v, existing %v", n, got, err, want, existing)
				}
				checkObject(t, d, want, data)
			}
		}
		if got := files(t, d); len(got) != 7 {
			t.Errorf("the store has %q", got)
		}
	}
}

func TestPutReaderThatFails(t *testing.T) {
	d := openStore(t, Options{})
	// The second is what a connection that broke gives.
	for _, fault := range []error{errors.New("fault"), io.ErrUnexpectedEOF} {
		for _, n := range []int{0, 5, smallMax, smallMax + 1, 2*smallMax + 5} {
			r := io.MultiReader(bytes.NewReader(pattern(n)), iotest.ErrReader(fault))
			if _, err := d.PutReader(t.Context(), r); !errors.Is(err, fault) {
				t.Errorf("after %d bytes: error is %v", n, err)
			}
		}
	}
	if got := files(t, d); len(got) != 0 {
		t.Errorf("the store has %q", got)
	}
}

func TestPutStopsWhenCancelled(t *testing.T) {
	d := openStore(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, n := range []int{10, smallMax + 1, 10 * smallMax} {
		if _, err := d.Put(ctx, tempFile(t, pattern(n)), int64(n)); !errors.Is(err, context.Canceled) {
			t.Errorf("%d bytes: error is %v", n, err)
		}
		if _, err := d.PutReader(ctx, bytes.NewReader(pattern(n))); !errors.Is(err, context.Canceled) {
			t.Errorf("stream of %d bytes: error is %v", n, err)
		}
	}
	if got := files(t, d); len(got) != 0 {
		t.Errorf("the store has %q", got)
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

// TestObjectModes: objects are for all to read, whatever mask the process has.
func TestObjectModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	for _, n := range []int{10, smallMax + 1} {
		d := openStore(t, Options{})
		got, err := d.PutBytes(t.Context(), pattern(n))
		if err != nil {
			t.Fatal(err)
		}
		if info, err := d.Stat(got.Digest); err != nil || info.Mode() != 0o644 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
}

// BenchmarkPut stores files of 16 KiB, from all goroutines at once.
func BenchmarkPut(b *testing.B) {
	const size = 16 << 10
	for _, opts := range []Options{{}, {CompareExisting: true}} {
		for _, kind := range []string{"new", "existing"} {
			if kind == "new" && opts.CompareExisting {
				continue
			}
			b.Run(fmt.Sprintf("%s/compare=%v", kind, opts.CompareExisting), func(b *testing.B) {
				d := openStore(b, opts)
				path := filepath.Join(b.TempDir(), "files")
				var next atomic.Int64
				b.SetBytes(size)
				b.RunParallel(func(pb *testing.PB) {
					data := pattern(size)
					f, err := os.Create(fmt.Sprint(path, next.Add(1)))
					if err != nil {
						b.Error(err)
						return
					}
					defer f.Close()
					for i := next.Add(1); pb.Next(); i = next.Add(1) {
						if kind == "new" || i < 100 {
							copy(data, fmt.Sprint(i))
						}
						if _, err := f.WriteAt(data, 0); err != nil {
							b.Error(err)
						}
						if _, err := d.Put(b.Context(), f, size); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}

func BenchmarkPutLarge(b *testing.B) {
	const size = 64 << 20
	for _, kind := range []string{"new", "existing", "stream"} {
		b.Run(kind, func(b *testing.B) {
			d := openStore(b, Options{})
			f := tempFile(b, pattern(size))
			b.SetBytes(size)
			for b.Loop() {
				var got Stored
				var err error
				if kind == "stream" {
					got, err = d.PutReader(b.Context(), io.NewSectionReader(f, 0, size))
				} else {
					got, err = d.Put(b.Context(), f, size)
				}
				if err != nil {
					b.Fatal(err)
				}
				if kind == "new" {
					if err := os.Remove(filepath.Join(d.Path(), got.Digest.ObjectPath())); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
