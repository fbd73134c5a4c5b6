package objects

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/go-composefs/composefs/fsverity"
)

func TestLinkedObjectIsTheFile(t *testing.T) {
	for _, size := range []int{100, smallMax + 100} {
		store := openStore(t, Options{Link: true})
		f := tempFile(t, pattern(size))
		if err := os.Chmod(f.Name(), 0o600); err != nil {
			t.Fatal(err)
		}
		stored, err := store.Put(t.Context(), f, int64(size))
		if err != nil {
			t.Fatal(err)
		}
		file, errF := f.Stat()
		object, errO := store.Stat(stored.Digest)
		if err := errors.Join(errF, errO); err != nil {
			t.Fatal(err)
		}
		if !os.SameFile(file, object) {
			t.Errorf("%d bytes: the object is another file", size)
		}
		if object.Mode().Perm() != 0o600 {
			t.Errorf("%d bytes: the file's mode is %v now", size, object.Mode())
		}
		again, err := store.Put(t.Context(), f, int64(size))
		if err != nil || !again.Existing {
			t.Errorf("%d bytes, put again: %+v, %v", size, again, err)
		}
	}
}

func TestFileOfAnotherFilesystemIsNotLinked(t *testing.T) {
	store := openStore(t, Options{Link: true})
	path := filepath.Join("/dev/shm", "composefs-"+filepath.Base(t.TempDir()))
	if err := os.WriteFile(path, pattern(1000), 0o644); err != nil {
		t.Skip("no other filesystem to write to:", err)
	}
	t.Cleanup(func() { _ = os.Remove(path) })
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stored, err := store.Put(t.Context(), f, 1000)
	if err != nil {
		t.Fatal(err)
	}
	checkObject(t, store, stored.Digest, pattern(1000))
}

func TestEveryPutIsClaimedBeforeTheStoreIsAsked(t *testing.T) {
	for way, put := range puts {
		t.Run(way, func(t *testing.T) {
			var claimed []fsverity.Digest
			var store *Dir
			store = openStore(t, Options{Claim: func(d fsverity.Digest) error {
				if ok, err := store.Has(d); err != nil || ok != (len(claimed) > 0) {
					t.Errorf("claim %d: the store has it: %v, %v", len(claimed), ok, err)
				}
				claimed = append(claimed, d)
				return nil
			}})
			first, err := put(t, store, pattern(5000))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := put(t, store, pattern(5000)); err != nil {
				t.Fatal(err)
			}
			if want := []fsverity.Digest{first.Digest, first.Digest}; !slices.Equal(claimed, want) {
				t.Errorf("claimed %v, want %v", claimed, want)
			}
			refused := errors.New("refused")
			store.opts.Claim = func(fsverity.Digest) error { return refused }
			if _, err := put(t, store, pattern(6000)); !errors.Is(err, refused) {
				t.Errorf("put without a claim: %v", err)
			}
			if got := files(t, store); len(got) != 1 {
				t.Errorf("the store has %q", got)
			}
		})
	}
}

func TestObjectOfAnotherStoreIsNotStored(t *testing.T) {
	for way, put := range puts {
		t.Run(way, func(t *testing.T) {
			elsewhere := true
			store := openStore(t, Options{Elsewhere: func(_ fsverity.Digest, size int64) (bool, error) {
				if size != 5000 {
					t.Errorf("asked for %d bytes", size)
				}
				return elsewhere, nil
			}})
			stored, err := put(t, store, pattern(5000))
			if err != nil || !stored.Existing || len(files(t, store)) > 0 {
				t.Errorf("put: %+v, %v, the store has %q", stored, err, files(t, store))
			}
			elsewhere = false
			if stored, err = put(t, store, pattern(5000)); err != nil || stored.Existing {
				t.Errorf("put what no store has: %+v, %v", stored, err)
			}
		})
	}
}
