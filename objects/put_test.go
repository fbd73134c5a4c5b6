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
	"sync"
	"syscall"
	"testing"
	"testing/iotest"

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
