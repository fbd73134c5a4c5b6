package repository

import (
	"testing"
	"time"

	"github.com/go-composefs/composefs/fsverity"
)

// duringSweep collects, and does something after the first object was removed and before others are.
func duringSweep(t *testing.T, r *Repository, do func(garbage string)) {
	t.Helper()
	// The directories of objects are swept in their order.
	first, later := "some content", "other content"
	if gateOf(digestOf(t, r, first)) > gateOf(digestOf(t, r, later)) {
		first, later = later, first
	}
	tx := begin(t, r)
	for _, content := range []string{first, later} {
		if _, err := tx.Objects().PutBytes(t.Context(), []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Abort(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	collect(t, r, CollectOptions{Jobs: 1, Removed: func(g Garbage) {
		if g.Name != digestOf(t, r, first).String() {
			return
		}
		go func() {
			defer close(done)
			do(later)
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second): // it waits for the gate of what is being removed
		}
	}})
	<-done
	wantWhole(t, r)
	if found := check(t, r, CheckOptions{}); !found.OK() {
		t.Errorf("after the collection: %+v", found.Problems)
	}
}

func TestCollectLeavesNoPartsOfAnImageWhoseRefCameAndWent(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	duringSweep(t, r, func(garbage string) {
		other := open(t, r.Path())
		importFiles(t, other, files{"a": garbage}, "name")
		importFiles(t, other, files{"a": "what it is now"}, "name")
	})
}

func TestCollectLeavesNoPartsOfAnImageThatCameBack(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	duringSweep(t, r, func(garbage string) {
		other := open(t, r.Path())
		importFiles(t, other, files{"a": garbage})
	})
	// Now its entry and its objects are garbage, and the entry goes first.
	duringSweep(t, r, func(garbage string) {
		other := open(t, r.Path())
		importFiles(t, other, files{"a": garbage})
	})
}

func TestCollectKeepsWhatWasMadeByAProcessThatWasKilledBeforeItCouldTell(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	duringSweep(t, r, func(garbage string) {
		other := open(t, r.Path())
		tx := begin(t, other)
		digest := putFiles(t, tx, files{"a": garbage})
		if err := tx.TagImage("name", digest); err != nil {
			t.Error(err)
		}
		if err := tx.setEntries(); err != nil {
			t.Error(err)
		}
		if err := tx.setRefs(); err != nil {
			t.Error(err)
		}
		if err := tx.lease.file.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := r.ResolveImage("name"); err != nil {
		t.Error(err)
	}
}
