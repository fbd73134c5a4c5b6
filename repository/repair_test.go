package repository

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
)

func repair(t *testing.T, r *Repository, from ...string) Checked {
	t.Helper()
	found := check(t, r, CheckOptions{})
	if err := r.Repair(t.Context(), &found, RepairOptions{From: from}); err != nil {
		t.Fatal(err)
	}
	return found
}

// hurt flips a bit of one object, and removes another.
func hurt(t *testing.T, r *Repository) {
	t.Helper()
	flip(t, filepath.Join(r.Path(), "objects", digestOf(t, r, long).ObjectPath()), 3)
	remove(t, r, "objects/"+digestOf(t, r, "other "+long).ObjectPath())
}

func TestRepairTakesGoodCopies(t *testing.T) {
	for name, source := range map[string]func(t *testing.T) string{
		"of a repository": func(t *testing.T) string {
			r, _, _ := sample(t, fsverity.SHA256)
			return r.Path()
		},
		"of a directory of objects": func(t *testing.T) string {
			r, _, _ := sample(t, fsverity.SHA256)
			return filepath.Join(r.Path(), "objects")
		},
		"of any files": func(t *testing.T) string {
			dir := t.TempDir()
			for name, content := range map[string]string{"decoy": strings.Repeat("x", len(long)), "x": long, "y": "other " + long} {
				if err := os.MkdirAll(filepath.Join(dir, "deep", name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "deep", name, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			return dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, _ := sample(t, fsverity.SHA256)
			from := source(t)
			hurt(t, r)
			// A source whose own copies are bad comes before.
			bad, _, _ := sample(t, fsverity.SHA256)
			hurt(t, bad)
			found := repair(t, r, bad.Path(), from)
			if !found.OK() {
				t.Errorf("%+v", found.Problems)
			}
			for _, p := range found.Problems {
				if !strings.HasPrefix(p.Mended, "copied from "+from) || len(p.NeededBy) == 0 {
					t.Errorf("%+v", p)
				}
			}
			wantProblems(t, check(t, r, CheckOptions{}))
		})
	}
}

func TestRepairTakesCopiesOfTheOtherStores(t *testing.T) {
	far, _, _ := sample(t, fsverity.SHA256)
	r, _, _ := sample(t, fsverity.SHA256)
	if err := SetStores(r.Path(), []string{far.Path()}); err != nil {
		t.Fatal(err)
	}
	r = open(t, r.Path())
	flip(t, filepath.Join(r.Path(), "objects", digestOf(t, r, long).ObjectPath()), 3)
	if found := repair(t, r); !found.OK() {
		t.Errorf("%+v", found.Problems)
	}
	wantProblems(t, check(t, r, CheckOptions{}))
}

// A store is not written to: a good copy is put where it is found first.
func TestRepairGoesRoundAWrongObjectOfAnotherStore(t *testing.T) {
	far := newRepository(t, fsverity.SHA256)
	importFiles(t, far, files{"other": long}, "one")
	r := newRepository(t, fsverity.SHA256)
	if err := SetStores(r.Path(), []string{far.Path()}); err != nil {
		t.Fatal(err)
	}
	r = open(t, r.Path())
	importFiles(t, r, files{"a": long}, "one")
	good := t.TempDir()
	if err := os.WriteFile(filepath.Join(good, "a"), []byte(long), 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(far.Path(), "objects", digestOf(t, r, long).ObjectPath())
	flip(t, path, 1)
	if found := repair(t, r); found.OK() || len(found.Problems) != 1 || found.Problems[0].Quarantined != "" {
		t.Errorf("without a copy: %+v", found.Problems)
	}
	if found := repair(t, r, good); !found.OK() {
		t.Errorf("%+v", found.Problems)
	}
	wantProblems(t, check(t, r, CheckOptions{}))
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the store was written to: %v", err)
	}
}

func TestRepairPutsAwayWhatItCannotMend(t *testing.T) {
	r, _, _ := sample(t, fsverity.SHA256)
	digest := digestOf(t, r, long)
	flip(t, filepath.Join(r.Path(), "objects", digest.ObjectPath()), 3)
	if err := os.WriteFile(filepath.Join(r.Path(), "objects", "README"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../etc", filepath.Join(r.Path(), "images/refs/bad")); err != nil {
		t.Fatal(err)
	}
	found := repair(t, r)
	if found.OK() {
		t.Error("an object is gone that an image needs, and all is said to be well")
	}
	for _, p := range found.Problems {
		if p.Quarantined == "" {
			t.Errorf("%+v", p)
		}
	}
	wantHas(t, r, long, false)
	kept, err := os.ReadFile(filepath.Join(r.Path(), "quarantine", digest.String()))
	if err != nil || len(kept) != len(long) {
		t.Errorf("the only copy: %q, %v", kept, err)
	}
	wantProblems(t, check(t, r, CheckOptions{}), "object-missing objects/"+digest.ObjectPath())
	collect(t, r, CollectOptions{})
	if _, err := os.Stat(filepath.Join(r.Path(), "quarantine", "objects_README")); err != nil {
		t.Errorf("after a collection: %v", err)
	}
}

func TestRepairLeavesWhatARunningImportReliesOn(t *testing.T) {
	r, _, _ := sample(t, fsverity.SHA256)
	digest := digestOf(t, r, long)
	tx := begin(t, r)
	if err := tx.Use(digest); err != nil {
		t.Fatal(err)
	}
	flip(t, filepath.Join(r.Path(), "objects", digest.ObjectPath()), 3)
	if found := repair(t, open(t, r.Path())); found.Problems[0].Quarantined != "" {
		t.Errorf("%+v", found.Problems)
	}
	wantHas(t, r, long, true)
	if err := tx.Abort(); err != nil {
		t.Fatal(err)
	}
	repair(t, r)
	wantHas(t, r, long, false)
}

func TestRepairLeavesWhatWasMendedMeanwhile(t *testing.T) {
	r, _, _ := sample(t, fsverity.SHA256)
	digest := digestOf(t, r, long)
	path := filepath.Join(r.Path(), "objects", digest.ObjectPath())
	flip(t, path, 3)
	found := check(t, r, CheckOptions{})
	flip(t, path, 3)
	if err := r.Repair(t.Context(), &found, RepairOptions{}); err != nil {
		t.Fatal(err)
	}
	wantHas(t, r, long, true)
	wantProblems(t, check(t, r, CheckOptions{}))
}

func TestRepairMakesLostEntriesAgain(t *testing.T) {
	r, image, _ := sample(t, fsverity.SHA256)
	for name, break1 := range map[string]func(){
		"missing": func() { remove(t, r, "images/"+image.String()) },
		"wrong": func() {
			remove(t, r, "images/"+image.String())
			if err := os.Symlink("../objects/"+digestOf(t, r, long).ObjectPath(), filepath.Join(r.Path(), "images", image.String())); err != nil {
				t.Fatal(err)
			}
		},
		"nonsense": func() {
			remove(t, r, "images/"+image.String())
			if err := os.Symlink("/etc/passwd", filepath.Join(r.Path(), "images", image.String())); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			break1()
			if found := repair(t, r); !found.OK() {
				t.Errorf("%+v", found.Problems)
			}
			wantProblems(t, check(t, r, CheckOptions{}))
			if _, err := r.ResolveImage("deep/er/two"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRepairMendsAnImageAndAStream(t *testing.T) {
	good, image, stream := sample(t, fsverity.SHA512)
	r, _, _ := sample(t, fsverity.SHA512)
	for _, digest := range []fsverity.Digest{image, stream} {
		flip(t, filepath.Join(r.Path(), "objects", digest.ObjectPath()), 35)
	}
	if found := repair(t, r, good.Path()); !found.OK() {
		t.Errorf("%+v", found.Problems)
	}
	wantProblems(t, check(t, r, CheckOptions{}))
}

func TestRepairReplacesADirectoryInPlaceOfAnObject(t *testing.T) {
	good, _, _ := sample(t, fsverity.SHA256)
	r, _, _ := sample(t, fsverity.SHA256)
	path := "objects/" + digestOf(t, r, long).ObjectPath()
	remove(t, r, path)
	if err := os.MkdirAll(filepath.Join(r.Path(), path, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	repair(t, r, good.Path())
	if found := repair(t, r, good.Path()); !found.OK() {
		t.Errorf("%+v", found.Problems)
	}
	wantProblems(t, check(t, r, CheckOptions{}))
}

func TestRepairRemovesADamagedCacheAndPutsLeasesAway(t *testing.T) {
	r, _, _ := sample(t, fsverity.SHA256)
	flip(t, filepath.Join(r.Path(), cacheName), 20)
	l, err := r.NewLease(t.Context(), "test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	id := l.ID()
	if err := l.Abandon(); err != nil {
		t.Fatal(err)
	}
	flip(t, filepath.Join(r.Path(), "leases", id), 0)
	if found := repair(t, r); !found.OK() {
		t.Errorf("%+v", found.Problems)
	}
	wantProblems(t, check(t, r, CheckOptions{}))
	collect(t, r, CollectOptions{})
}

// Each step of a repair fails once: what was wrong is still found, or is not wrong any more, and nothing
// is lost.
func TestRepairThatFailsLosesNothing(t *testing.T) {
	good, _, _ := sample(t, fsverity.SHA256)
	for step := 0; ; step++ {
		r, _, _ := sample(t, fsverity.SHA256)
		hurt(t, r)
		if err := os.WriteFile(filepath.Join(r.Path(), "objects", "README"), []byte("mine"), 0o644); err != nil {
			t.Fatal(err)
		}
		found := check(t, r, CheckOptions{})
		n := 0
		failing := open(t, r.Path())
		failing.beforeStep = func(string) error {
			if n++; n == step+1 {
				return objects.ErrChanged
			}
			return nil
		}
		err := failing.Repair(t.Context(), &found, RepairOptions{From: []string{good.Path()}})
		again := repair(t, r, good.Path())
		if !again.OK() {
			t.Fatalf("step %d: %+v", step, again.Problems)
		}
		wantProblems(t, check(t, r, CheckOptions{}))
		if err == nil {
			if step < 2 {
				t.Errorf("a repair has only %d steps", step)
			}
			return
		}
	}
}
