package repository

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-composefs/composefs/fsverity"
)

// replaceImage does what signing does at its end, without fs-verity: the object is another file afterwards.
func replaceImage(t *testing.T, r *Repository, image fsverity.Digest, during func()) error {
	t.Helper()
	path := filepath.Join(r.Path(), "objects", image.ObjectPath())
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		t.Fatal(err)
	}
	old, err := r.objects.OpenObject(image)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	return r.unlessInUse(image)(old, func() error {
		during()
		return os.Rename(path+".new", path)
	})
}

// A collector knows by the file that an image is in use: it may not become another one then.
func TestImageInUseIsNotReplaced(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	image := importFiles(t, r, files{"a": long}, "name")
	img, err := r.OpenImage("name")
	if err != nil {
		t.Fatal(err)
	}
	fail := func() { t.Error("it was replaced") }
	if err := replaceImage(t, r, image, fail); !errors.Is(err, ErrInUse) {
		t.Errorf("error is %v, want ErrInUse", err)
	}
	if err := img.Close(); err != nil {
		t.Fatal(err)
	}
	if err := replaceImage(t, r, image, func() {}); err != nil {
		t.Errorf("when it is not in use any more: %v", err)
	}
	wantWhole(t, r)
}

// Who opens an image while it is replaced has the new file in the end, so that a collector sees it.
func TestImageOpenedWhileItIsReplacedIsKept(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	image := importFiles(t, r, files{"a": long})
	other := open(t, r.Path())
	opened := make(chan *Image, 1)
	err := replaceImage(t, r, image, func() {
		go func() {
			img, err := other.OpenImage(image.String())
			if err != nil {
				t.Error(err)
			}
			opened <- img
		}()
		time.Sleep(100 * time.Millisecond) // it has the old file, and waits
	})
	if err != nil {
		t.Fatal(err)
	}
	img := <-opened
	if img == nil {
		return
	}
	defer img.Close()
	if same, err := r.isObject(img.File, image); err != nil || !same {
		t.Errorf("it has the old file: %v", err)
	}
	if got := collect(t, r, CollectOptions{}); got.Objects != 0 || len(got.InUse) != 1 {
		t.Errorf("collected: %+v", got)
	}
}

func TestImageThatIsNotHereIsNotSigned(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	importFiles(t, r, files{"a": long}, "name")
	// An object that is no image.
	for _, digest := range []fsverity.Digest{digestOf(t, r, long), digestOf(t, r, "not here")} {
		if err := r.SignImage(t.Context(), digest, []byte("signature")); !errors.Is(err, ErrNotFound) {
			t.Errorf("error is %v, want ErrNotFound", err)
		}
	}
}

// Whatever this machine's filesystem and kernel can do, garbage is no signature.
func TestImageKeepsItsFileWithoutAGoodSignature(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	image := importFiles(t, r, files{"a": long}, "name")
	was, err := r.StatObject(image)
	if err != nil {
		t.Fatal(err)
	}
	err = r.SignImage(t.Context(), image, []byte("garbage"))
	if !errors.Is(err, fsverity.ErrNoVerity) && !errors.Is(err, fsverity.ErrNoSignatures) && !errors.Is(err, fsverity.ErrSignatureRefused) {
		t.Errorf("error is %v", err)
	}
	if now, err := r.StatObject(image); err != nil || !os.SameFile(was, now) {
		t.Errorf("it is another file: %v", err)
	}
	if got, err := r.ImageSignature(image); got != nil || err != nil && !errors.Is(err, fsverity.ErrNoVerity) && !errors.Is(err, fsverity.ErrNoSignatures) {
		t.Errorf("it has the signature %q, %v", got, err)
	}
	wantWhole(t, r)
}

func TestImageOfAnotherStoreIsNotSigned(t *testing.T) {
	far := newRepository(t, fsverity.SHA256)
	importFiles(t, far, files{"a": long}, "name")
	r := newRepository(t, fsverity.SHA256)
	if err := SetStores(r.Path(), []string{far.Path()}); err != nil {
		t.Fatal(err)
	}
	r = open(t, r.Path())
	image := importFiles(t, r, files{"a": long}, "name")
	if err := r.SignImage(t.Context(), image, []byte("signature")); !errors.Is(err, ErrElsewhere) {
		t.Errorf("error is %v, want ErrElsewhere", err)
	}
}
