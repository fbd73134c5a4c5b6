package repository

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
)

func TestCollectRemovesWhatNoRefKeeps(t *testing.T) {
	for _, alg := range []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512} {
		t.Run(alg.String(), func(t *testing.T) {
			r := newRepository(t, alg)
			importFiles(t, r, files{"a": "only in one", "b": "in both"}, "one")
			importFiles(t, r, files{"a": "in both", "b": "only in two"}, "deep/er/two")
			if err := r.UntagImage(t.Context(), "one"); err != nil {
				t.Fatal(err)
			}
			var planned, removed []Garbage
			dry := collect(t, r, CollectOptions{DryRun: true, Removed: func(g Garbage) { planned = append(planned, g) }})
			wantHas(t, r, "only in one", true)
			got := collect(t, r, CollectOptions{Removed: func(g Garbage) { removed = append(removed, g) }})
			slices.SortFunc(planned, compareGarbage)
			slices.SortFunc(removed, compareGarbage)
			if diff := gocmp.Diff(planned, removed); diff != "" {
				t.Errorf("the dry run said something else than was done (-dry +done):\n%s", diff)
			}
			if diff := gocmp.Diff(dry, got); diff != "" {
				t.Errorf("the dry run counted otherwise (-dry +done):\n%s", diff)
			}
			if got.Objects != 2 || got.Images != 1 || got.Kept != 3 {
				t.Errorf("removed %+v; want 2 objects, 1 image, and 3 kept", got)
			}
			wantHas(t, r, "only in one", false)
			wantHas(t, r, "in both", true)
			wantHas(t, r, "only in two", true)
			if again := collect(t, r, CollectOptions{}); again.Objects != 0 || again.Kept != 3 {
				t.Errorf("a second collection removed %+v", again)
			}
		})
	}
}

func compareGarbage(a, b Garbage) int {
	return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Name, b.Name))
}

func TestCollectKeepsWhatATransactionFoundThere(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	importFiles(t, r, files{"a": "garbage soon"}, "old")
	if err := r.UntagImage(t.Context(), "old"); err != nil {
		t.Fatal(err)
	}
	other := open(t, r.Path())
	tx := begin(t, other)
	digest := putFiles(t, tx, files{"a": "garbage soon", "b": "new"})
	got := collect(t, r, CollectOptions{})
	wantHas(t, r, "garbage soon", true)
	wantHas(t, r, "new", true)
	if got.Images != 1 {
		t.Errorf("removed %+v, not the image that nobody needs", got)
	}
	if err := tx.TagImage("new", digest); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, r, CollectOptions{}); got.Objects > 1 || got.Kept != 3 { // the canary may go
		t.Errorf("after the commit it removed %+v", got)
	}
}

func TestCollectKeepsAnImageThatIsOpen(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	digest := importFiles(t, r, files{"a": "content"})
	img, err := r.OpenImage(digest.String())
	if err != nil {
		t.Fatal(err)
	}
	got := collect(t, r, CollectOptions{})
	if !slices.Equal(got.InUse, []fsverity.Digest{digest}) || got.Objects != 0 {
		t.Errorf("removed %+v of an open image", got)
	}
	if err := img.Close(); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, r, CollectOptions{}); got.Objects != 2 {
		t.Errorf("removed %+v when it was closed, want both objects", got)
	}
}

func TestLeaseKeepsAnImageUntilItExpires(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	digest := importFiles(t, r, files{"a": "content"})
	lease, err := r.NewLease(t.Context(), "test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := lease.Keep(digest); err != nil {
		t.Fatal(err)
	}
	if err := lease.Abandon(); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, r, CollectOptions{}); got.Objects != 0 {
		t.Fatalf("removed %+v of a leased image", got)
	}
	if lease, err = r.OpenLease(t.Context(), lease.ID()); err != nil {
		t.Fatal(err)
	}
	if err := lease.Extend(time.Nanosecond); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, r, CollectOptions{}); got.Objects != 0 {
		t.Fatalf("removed %+v while a process held the lease", got)
	}
	if err := lease.Abandon(); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, r, CollectOptions{}); got.Objects != 2 || got.Leases != 1 {
		t.Errorf("removed %+v, want both objects and the expired lease", got)
	}
}

func TestCollectWaitsForProgramsOfTheOtherImplementation(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	importFiles(t, r, files{"a": "content"})
	// What cfsctl does when it opens a repository.
	dir, err := os.Open(r.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Collect(t.Context(), CollectOptions{}); !errors.Is(err, ErrInUse) {
		t.Fatalf("got %v, want ErrInUse", err)
	}
	wantHas(t, r, "content", true)
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, r, CollectOptions{}); got.Objects != 2 {
		t.Errorf("removed %+v", got)
	}
}

func TestTransactionKeepsTheOtherCollectorOut(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	tx := begin(t, r)
	dir, err := os.Open(r.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("got the exclusive lock during a transaction: %v", err)
	}
	if err := tx.Abort(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("no exclusive lock after the transaction: %v", err)
	}
}

func TestTransactionNoticesThatTheOtherCollectorRan(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	tx := begin(t, r)
	digest := putFiles(t, tx, files{"a": "content"})
	if err := tx.TagImage("name", digest); err != nil {
		t.Fatal(err)
	}
	// A collector of this package comes, and the other one is faster.
	leases, err := r.newLeaseDir()
	if err != nil {
		t.Fatal(err)
	}
	defer leases.Close()
	if err := errors.Join(lockByte(leases.lock, shieldByte, exclusive), lockByte(leases.lock, wishByte, exclusive)); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(r.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	for object, err := range r.objects.All() {
		if err == nil {
			err = r.root.Remove(objectsDir + "/" + object.ObjectPath())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(dir.Close(), unlockByte(leases.lock, wishByte), unlockByte(leases.lock, shieldByte)); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); !errors.Is(err, ErrCollected) {
		t.Errorf("commit: %v, want ErrCollected", err)
	}
	if _, err := r.ResolveImage("name"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the ref is there: %v", err)
	}
}

// imageOfImage puts an image without a name, and one with a name that has it as a file.
func imageOfImage(t *testing.T, r *Repository) (inner, outer fsverity.Digest) {
	t.Helper()
	inner = importFiles(t, r, files{"a": "in the inner image"})
	content, err := os.ReadFile(r.Path() + "/images/" + inner.String())
	if err != nil {
		t.Fatal(err)
	}
	outer = importFiles(t, r, files{"image": string(content)}, "outer")
	return inner, outer
}

func TestCollectRemovesAnImageThatIsStillAFile(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	inner, _ := imageOfImage(t, r)
	got := collect(t, r, CollectOptions{})
	if got.Images != 1 || got.Objects != 1 || got.Kept != 2 {
		t.Errorf("removed %+v; want 1 image, 1 object, and 2 kept", got)
	}
	wantHas(t, r, "in the inner image", false)
	if ok, err := r.Has(inner); err != nil || !ok {
		t.Errorf("the file that was an image is there: %v, %v", ok, err)
	}
	if _, err := r.ResolveImage(inner.String()); !errors.Is(err, ErrNotFound) {
		t.Errorf("an image is left without its objects: %v", err)
	}
}

func TestCollectKeepsAnOpenImageThatIsAlsoAFile(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	inner, _ := imageOfImage(t, r)
	img, err := r.OpenImage(inner.String())
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if got := collect(t, r, CollectOptions{}); got.Objects != 0 || !slices.Equal(got.InUse, []fsverity.Digest{inner}) {
		t.Errorf("removed %+v of an open image", got)
	}
	wantHas(t, r, "in the inner image", true)
}

// A lease is written under a temporary name, which a collector took for what a killed process had
// left: the file system's clock had stamped it some milliseconds before the collector looked at its own.
func TestBeginFailedBesideACollectorThatTookItsLeaseForGarbage(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	d, err := r.openLeases()
	if err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{
		leasesDir + "/" + tempLease + "YOUNG": 20 * time.Millisecond,
		leasesDir + "/" + tempLease + "OLD":   2 * temporaryAge,
		tempLink + "OLD":                      2 * temporaryAge,
	} {
		if err := r.root.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := r.root.Chtimes(name, then, then); err != nil {
			t.Fatal(err)
		}
	}
	if got := collect(t, r, CollectOptions{}).Temporaries; got != 2 {
		t.Errorf("%d temporary files were removed, want the 2 old ones", got)
	}
	if _, err := d.root.Lstat(tempLease + "YOUNG"); err != nil {
		t.Error(err)
	}
}

// Commit held the guard shared and asked for it shared again, which waits for a watcher that waits for
// Commit.
func TestCommitWaitedForItself(t *testing.T) {
	var g guard
	g.mu.RLock()
	go func() {
		g.mu.Lock()
		defer g.mu.Unlock()
	}()
	for g.mu.TryRLock() { // until the writer waits
		g.mu.RUnlock()
		time.Sleep(time.Millisecond)
	}
	done := make(chan bool)
	go func() { done <- g.wasCanary(fsverity.Digest{}) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("it waits")
	}
	g.mu.RUnlock()
}

// A collection looked at every lease before each removal, also at those of thousands of processes that
// had been killed.
func TestCollectTookLongAfterManyKilledImports(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	d, err := r.openLeases()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		l := &Lease{d: d, id: fmt.Sprint("KILLED", i), header: leaseJSON{Owner: "killed"}}
		if err := l.create(); err != nil {
			t.Fatal(err)
		}
		if err := l.file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1000 {
		importFiles(t, r, files{"f": fmt.Sprint(i, strings.Repeat("x", 100))})
	}
	start := time.Now()
	if got := collect(t, r, CollectOptions{}); got.Leases != 3000 || got.Images != 1000 {
		t.Errorf("%+v", got)
	}
	// It is under a second; it was more than a minute.
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A power failure had left a lease without content, and no collection was possible any more.
func TestCollectFailedAfterAPowerFailureDuringAnImport(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	importFiles(t, r, files{"a": "kept"}, "a")
	if _, err := r.openLeases(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"EMPTY": "", "ZEROS": string(make([]byte, leaseHeader+32)), "CUT": `{"owner":`} {
		if err := r.root.WriteFile(leasesDir+"/"+name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := r.Check(t.Context(), CheckOptions{}); err != nil || !found.OK() {
		t.Errorf("%v, %+v", err, found.Problems)
	}
	if got := collect(t, r, CollectOptions{}).Leases; got != 3 {
		t.Errorf("%d leases were removed, want 3", got)
	}
}

func TestCollectWaitsForATransactionThatWaitsForItsDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("takes longer than a second")
	}
	r := newRepository(t, fsverity.SHA256)
	tx := begin(t, r)
	// Commit holds this while directories are synced.
	leave, _, err := r.guard.enter(t.Context(), tx.lease)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(minWait+minWait/2, leave)
	collect(t, open(t, r.Path()), CollectOptions{})
}

func TestCollectRemovesNothingThatAnImageWithWrongBytesNeeded(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	image := importFiles(t, r, files{"a": "content"}, "name")
	path := filepath.Join(r.Path(), objectsDir, image.ObjectPath())
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The image stays a sound one, and needs another object.
	needed := digestOf(t, r, "content").ObjectPath()
	other := digestOf(t, r, "other content").ObjectPath()
	data = bytes.ReplaceAll(data, []byte(needed), []byte(other))
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Collect(t.Context(), CollectOptions{}); !errors.Is(err, objects.ErrCorrupt) {
		t.Errorf("collect: %v, want ErrCorrupt", err)
	}
	wantHas(t, r, "content", true)
}

func TestCollectWaitsForAnotherCollection(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	other, err := open(t, r.Path()).newCollector(t.Context(), CollectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Collect(t.Context(), CollectOptions{}); !errors.Is(err, ErrInUse) {
		t.Errorf("beside another collection: %v, want ErrInUse", err)
	}
	time.AfterFunc(10*retryInterval, func() { _ = other.Close() })
	collect(t, r, CollectOptions{Wait: time.Minute})
}
