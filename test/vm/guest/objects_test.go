//go:build vmguest

package guest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
)

func openStore(t *testing.T, path string, opts objects.Options) *objects.Dir {
	t.Helper()
	d, err := objects.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestStoredObjectsAreMeasuredAsTheyAreNamed(t *testing.T) {
	for _, alg := range []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512} {
		t.Run(alg.String(), func(t *testing.T) {
			store := workDir(t) + "/store"
			d := openStore(t, store, objects.Options{Algorithm: alg, Verity: objects.VerityRequire, Create: true})
			for _, size := range []int{1, 4096, 4097, 1 << 20, 9<<20 + 1} {
				content := bytes.Repeat([]byte{byte(size)}, size)
				stored, err := d.PutBytes(t.Context(), content)
				if err != nil {
					t.Fatalf("%d bytes: %v", size, err)
				}
				if got := measure(t, filepath.Join(store, stored.Digest.ObjectPath())); got != stored.Digest.String() {
					t.Errorf("%d bytes: the kernel measures %q, named %v", size, got, stored.Digest)
				}

				source := workDir(t) + "/source"
				writeFile(t, source, append(content, 0))
				if stored, err = d.Put(t.Context(), open(t, source), int64(size)+1); err != nil {
					t.Fatalf("file of %d bytes: %v", size+1, err)
				}
				if got := measure(t, filepath.Join(store, stored.Digest.ObjectPath())); got != stored.Digest.String() {
					t.Errorf("file of %d bytes: the kernel measures %q, named %v", size+1, got, stored.Digest)
				}
			}
			if err := d.Sync(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestObjectInTheWayIsMadeGood(t *testing.T) {
	content := blocks(t.Name(), 2)
	name, err := fsverity.Sum(fsverity.SHA256, content)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		there func(t *testing.T, path string)
	}{
		{"without verity", func(t *testing.T, path string) { writeFile(t, path, content) }},
		{"of another content", func(t *testing.T, path string) { writeFile(t, path, blocks("other", 2)) }},
		{"of another content with verity", func(t *testing.T, path string) {
			writeFile(t, path, blocks("other", 2))
			enable(t, path)
		}},
		{"of another size", func(t *testing.T, path string) { writeFile(t, path, nil) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			store := workDir(t)
			path := filepath.Join(store, name.ObjectPath())
			test.there(t, path)
			d := openStore(t, store, objects.Options{Verity: objects.VerityRequire})
			if _, err := d.PutBytes(t.Context(), content); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
				t.Errorf("the object has %d bytes, %v; want the content that was put", len(got), err)
			}
			if got := measure(t, path); got != name.String() {
				t.Errorf("the kernel measures %q, want %v", got, name)
			}
		})
	}
}

func TestManyPutTheSameObject(t *testing.T) {
	store := workDir(t)
	source := store + "/source"
	content := blocks(t.Name(), 64)
	writeFile(t, source, content)
	var group errgroup.Group
	for range 16 {
		group.Go(func() error {
			d, err := objects.Open(store, objects.Options{Verity: objects.VerityRequire})
			if err != nil {
				return err
			}
			defer d.Close()
			f, err := os.Open(source)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = d.Put(t.Context(), f, int64(len(content)))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	name, err := fsverity.Sum(fsverity.SHA256, content)
	if err != nil {
		t.Fatal(err)
	}
	if got := measure(t, filepath.Join(store, name.ObjectPath())); got != name.String() {
		t.Errorf("the kernel measures %q, want %v", got, name)
	}
}

func TestVerifyFindsAChangeOnTheDevice(t *testing.T) {
	store := workDir(t)
	d := openStore(t, store, objects.Options{Verity: objects.VerityRequire})
	stored, err := d.PutBytes(t.Context(), blocks(t.Name(), 3))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Verify(t.Context(), stored.Digest); err != nil {
		t.Errorf("before the change: %v", err)
	}
	flipOnDevice(t, []byte(t.Name()+" block 1:"))
	if err := d.Verify(t.Context(), stored.Digest); err == nil {
		t.Error("a changed object passes")
	}
}
