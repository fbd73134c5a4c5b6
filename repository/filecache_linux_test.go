package repository

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// countingSink counts the files that a scan reads.
type countingSink struct {
	*Transaction
	cache *FileCache
	read  int
}

func (s *countingSink) Lookup(state tree.FileState) (tree.KnownFile, bool) {
	return s.cache.Lookup(state)
}

func (s *countingSink) Remember(state tree.FileState, file tree.KnownFile) {
	s.read++
	s.cache.Remember(state, file)
}

// scanCached imports a directory by the cache, and returns the image and how many files were read.
func scanCached(t *testing.T, r *Repository, dir *os.File, ref string) (fsverity.Digest, int) {
	t.Helper()
	tx := begin(t, r)
	cache, err := tx.FileCache()
	if err != nil {
		t.Fatal(err)
	}
	sink := &countingSink{Transaction: tx, cache: cache}
	root, err := tree.Scan(t.Context(), dir, tree.ScanOptions{Sink: sink, Cache: sink, InlineMax: -1, UseEpoch: true, Jobs: 1})
	if err != nil {
		t.Fatal(err)
	}
	digest, err := tx.PutTree(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.TagImage(ref, digest); err != nil {
		t.Fatal(err)
	}
	if err := cache.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return digest, sink.read
}

// waitForClock returns when files that were written before count as at rest.
func waitForClock(t *testing.T) {
	t.Helper()
	time.Sleep(120 * time.Millisecond) // the clock of the filesystem is what is waited for
}

func TestFileCachePassesOverWhatHasNotChanged(t *testing.T) {
	for _, alg := range []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512} {
		t.Run(alg.String(), func(t *testing.T) {
			r := newRepository(t, alg)
			dir := writeFiles(t, files{"a": "first", "b": "second", "c": "third"})
			waitForClock(t)
			first, read := scanCached(t, r, dir, "x")
			if read != 3 {
				t.Fatalf("read %d files, want all 3", read)
			}
			second, read := scanCached(t, r, dir, "x")
			if read != 0 || second != first {
				t.Errorf("read %d files again, image %s, want none and %s", read, second, first)
			}
			if err := os.WriteFile(filepath.Join(dir.Name(), "b"), []byte("SECOND"), 0o644); err != nil {
				t.Fatal(err)
			}
			waitForClock(t)
			if third, read := scanCached(t, r, dir, "x"); read != 1 || third == first {
				t.Errorf("read %d files after one was changed, image %s", read, third)
			}
			// The object of "a" is lost: the cache must not be believed.
			if err := r.objects.Remove(digestOf(t, r, "first")); err != nil {
				t.Fatal(err)
			}
			if _, read := scanCached(t, r, dir, "x"); read != 1 {
				t.Errorf("read %d files after an object was lost, want 1", read)
			}
			wantHas(t, r, "first", true)
		})
	}
}

func TestFileCacheDoesNotRememberAFileThatMayChangeUnseen(t *testing.T) {
	now := time.Now()
	for name, test := range map[string]struct {
		ctime time.Time
		want  bool
	}{
		"of now":                    {now, false},
		"of the future":             {now.Add(time.Hour), false},
		"of a minute ago":           {now.Add(-time.Minute).Truncate(time.Second).Add(7), true},
		"of a second ago, in whole": {now.Add(-time.Second).Truncate(time.Second), false},
		"of a minute ago, in whole": {now.Add(-time.Minute).Truncate(time.Second), true},
	} {
		c := &FileCache{size: 32}
		state := tree.FileState{Size: 1, Ctime: tree.Timespec{Sec: test.ctime.Unix(), Nsec: uint32(test.ctime.Nanosecond())}}
		digest, err := fsverity.Sum(fsverity.SHA256, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		c.Remember(state, tree.KnownFile{Digest: digest})
		if got := len(c.new) > 0; got != test.want {
			t.Errorf("a file with a ctime %s is remembered: %v, want %v", name, got, test.want)
		}
	}
}

func TestDamagedFileCacheCountsAsEmpty(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	dir := writeFiles(t, files{"a": "x"})
	waitForClock(t)
	scanCached(t, r, dir, "x")
	path := filepath.Join(r.Path(), cacheName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range good {
		bad := append([]byte(nil), good...)
		bad[at] ^= 1
		if got := (&FileCache{size: 32}).records(bad); got != nil {
			t.Errorf("byte %d: %d bytes of records of a damaged cache", at, len(got))
		}
		if got := (&FileCache{size: 32}).records(good[:at]); got != nil {
			t.Errorf("cut at %d: %d bytes of records", at, len(got))
		}
	}
	if err := os.WriteFile(path, good[:20], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, read := scanCached(t, r, dir, "x"); read != 1 {
		t.Errorf("read %d files with a damaged cache, want 1", read)
	}
}
