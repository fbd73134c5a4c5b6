package repository

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
)

// withStores makes a repository that has another one as its store.
func withStores(t *testing.T, stores ...string) *Repository {
	t.Helper()
	path := newRepository(t, fsverity.SHA256).Path()
	if err := SetStores(path, stores); err != nil {
		t.Fatal(err)
	}
	return open(t, path)
}

func TestObjectOfAnotherStoreIsUsedAndNotCopied(t *testing.T) {
	base := newRepository(t, fsverity.SHA256)
	importFiles(t, base, files{"a": "in the base", "b": "likewise"}, "base")
	r := withStores(t, base.Path())
	digest := importFiles(t, r, files{"a": "in the base", "b": "own"}, "derived")

	own := func(content string) bool {
		ok, err := r.objects.Has(digestOf(t, r, content))
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if own("in the base") || !own("own") {
		t.Errorf("the repository has the base's object %v and its own %v", own("in the base"), own("own"))
	}
	f, err := r.OpenObject(digestOf(t, r, "in the base"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if dirs := r.ObjectDirs(); len(dirs) != 2 {
		t.Errorf("%d directories of objects", len(dirs))
	}
	if got := collect(t, r, CollectOptions{}); got.Objects != 0 {
		t.Errorf("removed %+v", got)
	}
	wantHas(t, base, "likewise", true)

	if err := SetStores(r.Path(), nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("gave up a store that is needed: %v", err)
	}
	got, err := r.Localize(t.Context(), "derived")
	if err != nil || got.Objects != 1 || got.Bytes != int64(len("in the base")) {
		t.Errorf("localized %+v, %v", got, err)
	}
	if !own("in the base") {
		t.Error("the object was not copied")
	}
	if err := SetStores(r.Path(), nil); err != nil {
		t.Fatal(err)
	}
	alone := open(t, r.Path())
	if slices.Contains(alone.Meta().Features.Incompatible, FeatureStores) || len(alone.Stores()) > 0 {
		t.Errorf("it still has stores: %v, %v", alone.Meta().Features, alone.Stores())
	}
	if refs, err := alone.imageObjects(digest); err != nil || len(refs) != 2 {
		t.Errorf("its image has %v, %v", refs, err)
	}
}

func TestStoreThatIsNeededCannotBeLeftOut(t *testing.T) {
	base, more := newRepository(t, fsverity.SHA256), newRepository(t, fsverity.SHA256)
	importFiles(t, base, files{"a": "in the base"}, "base")
	r := withStores(t, base.Path(), more.Path())
	importFiles(t, r, files{"a": "in the base"}, "x")
	if err := SetStores(r.Path(), []string{more.Path()}); !errors.Is(err, ErrNotFound) {
		t.Errorf("left out a store that is needed: %v", err)
	}
	if err := SetStores(r.Path(), []string{base.Path()}); err != nil {
		t.Errorf("left out a store that is not needed: %v", err)
	}
	moved := base.Path() + " elsewhere"
	if err := os.Rename(base.Path(), moved); err != nil {
		t.Fatal(err)
	}
	if err := SetStores(r.Path(), []string{moved}); err != nil {
		t.Errorf("named a store that has moved: %v", err)
	}
}

func TestStoreThatIsMissingIsPassedOver(t *testing.T) {
	base := filepath.Join(t.TempDir(), "base")
	if err := os.Mkdir(base, 0o755); err != nil {
		t.Fatal(err)
	}
	r := withStores(t, base)
	if err := os.Remove(base); err != nil {
		t.Fatal(err)
	}
	again := open(t, r.Path())
	importFiles(t, again, files{"a": "content"}, "x")
	wantHas(t, again, "content", true)
	if got := again.Stores(); !slices.Equal(got, []string{base}) {
		t.Errorf("stores: %q", got)
	}
}

func TestDamagedObjectOfAnotherStoreIsNotLocalized(t *testing.T) {
	base := newRepository(t, fsverity.SHA256)
	importFiles(t, base, files{"a": "good"}, "base")
	r := withStores(t, base.Path())
	importFiles(t, r, files{"a": "good"}, "x")
	path := filepath.Join(base.Path(), objectsDir, digestOf(t, base, "good").ObjectPath())
	if err := os.WriteFile(path, []byte("evil"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Localize(t.Context(), "x"); !errors.Is(err, objects.ErrCorrupt) {
		t.Errorf("localize: %v, want ErrCorrupt", err)
	}
	if ok, err := r.objects.Has(digestOf(t, r, "good")); ok || err != nil {
		t.Errorf("the damaged object was copied: %v, %v", ok, err)
	}
}

func TestStoresThatCannotBe(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	other := newRepository(t, fsverity.SHA512)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"itself": r.Path(), "its objects": filepath.Join(r.Path(), objectsDir), "of another algorithm": other.Path(),
		"missing": filepath.Join(t.TempDir(), "none"), "a file": file,
	} {
		if err := SetStores(r.Path(), []string{path}); err == nil {
			t.Errorf("a store %s was taken", name)
		}
	}
	if _, err := os.Stat(filepath.Join(r.Path(), storesName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s was written: %v", storesName, err)
	}
}

func TestTransactionUses(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	importFiles(t, r, files{"a": "there"}, "x")
	tx := begin(t, r)
	if err := tx.Use(digestOf(t, r, "there")); err != nil {
		t.Error(err)
	}
	if err := tx.Use(digestOf(t, r, "not there")); !errors.Is(err, ErrNotFound) {
		t.Errorf("used what is not there: %v", err)
	}
	if err := tx.TagImage("y", digestOf(t, r, "there")); !errors.Is(err, ErrNotFound) {
		t.Errorf("tagged what is no image: %v", err)
	}
	if err := tx.TagStream("y", "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("tagged a stream that is not there: %v", err)
	}
}

func TestBeginEndsWithItsContextWhileTheOtherCollectorRuns(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	dir, err := os.Open(r.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if ok, err := tryFlock(dir, exclusive); err != nil || !ok {
		t.Fatal(ok, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*retryInterval)
	defer cancel()
	if _, err := r.Begin(ctx, TransactionOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("begin: %v", err)
	}
	if left, err := r.Leases(); err != nil || len(left) > 0 {
		t.Errorf("leases are left: %v, %v", left, err)
	}
}
