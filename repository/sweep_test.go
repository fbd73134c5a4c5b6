package repository

import (
	"errors"
	"fmt"
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

func TestCollectLeavesNoStreamWithoutAnotherThatItNeeds(t *testing.T) {
	for _, id := range []string{"a", "z"} { // names before and after that of what it needs
		t.Run(id, func(t *testing.T) {
			r := newRepository(t, fsverity.SHA256)
			tx := begin(t, r)
			needed := putStream(t, tx, "m", "content")
			referrer := needed
			for n := 0; gateOf(referrer) == gateOf(needed); n++ { // it is used behind the other's gate
				w := tx.NewStream(0)
				if _, err := fmt.Fprint(w, "manifest ", n); err != nil {
					t.Fatal(err)
				}
				w.NamedRef("layer", needed)
				var err error
				if referrer, err = tx.PutStream(t.Context(), id, w); err != nil {
					t.Fatal(err)
				}
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			other := open(t, r.Path())
			var used error
			collect(t, r, CollectOptions{Removed: func(g Garbage) {
				if g.Name != needed.String() {
					return
				}
				later, err := other.Begin(t.Context(), TransactionOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				defer later.Abort()
				if used = later.TagStream("name", id); used == nil {
					used = later.Commit(t.Context())
				}
			}})
			if used == nil {
				t.Error("a stream could be named when what it needs was gone")
			} else if !errors.Is(used, ErrNotFound) {
				t.Errorf("name a stream that is gone: %v", used)
			}
			if found := check(t, r, CheckOptions{}); !found.OK() {
				t.Errorf("after the collection: %+v", found.Problems)
			}
		})
	}
}

func TestCollectLeavesNoPartsOfAnImageThatWasLostAndCameBack(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	lost := importFiles(t, r, files{"a": "content"})
	first := lost
	for n := 0; first.Compare(lost) >= 0 || gateOf(first) == gateOf(lost); n++ { // the entries go in this order
		first = importFiles(t, r, files{"a": fmt.Sprint("other content ", n)})
	}
	if err := r.objects.Remove(lost); err != nil {
		t.Fatal(err)
	}
	came := false
	collect(t, r, CollectOptions{Removed: func(g Garbage) {
		if g.Kind == GarbageObject && g.Name == first.String() {
			importFiles(t, open(t, r.Path()), files{"a": "content"})
			came = true
		}
	}})
	if !came {
		t.Error("the image did not come back")
	}
	if found := check(t, r, CheckOptions{}); !found.OK() {
		t.Errorf("after the collection: %+v", found.Problems)
	}
}
