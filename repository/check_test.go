package repository

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/splitstream"
)

func check(t *testing.T, r *Repository, opts CheckOptions) Checked {
	t.Helper()
	found, err := r.Check(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// wantProblems fails unless a check found problems of these kinds at these paths, and no others.
func wantProblems(t *testing.T, found Checked, want ...string) {
	t.Helper()
	var got []string
	for _, p := range found.Problems {
		if !p.Note {
			got = append(got, string(p.Kind)+" "+p.Path)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s\n%+v", diff, found.Problems)
	}
}

// flip flips a bit of a file.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

const long = "content of more than a few bytes"

// sample makes a repository with an image of two files, two names, a stream and a cache.
func sample(t *testing.T, alg fsverity.Algorithm) (r *Repository, image, stream fsverity.Digest) {
	t.Helper()
	r = newRepository(t, alg)
	tx := begin(t, r)
	image = putFiles(t, tx, files{"a": long, "b": "other " + long})
	for _, name := range []string{"one", "deep/er/two"} {
		if err := tx.TagImage(name, image); err != nil {
			t.Fatal(err)
		}
	}
	stream = putStream(t, tx, "layer", long)
	cache, err := tx.FileCache()
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cache.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantProblems(t, check(t, r, CheckOptions{}))
	return r, image, stream
}

func TestCheckFindsAFlippedBitInEveryKindOfFile(t *testing.T) {
	for _, alg := range []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512} {
		t.Run(alg.String(), func(t *testing.T) {
			t.Run("object", func(t *testing.T) {
				r, image, _ := sample(t, alg)
				digest := digestOf(t, r, "other "+long)
				flip(t, filepath.Join(r.Path(), "objects", digest.ObjectPath()), 7)
				found := check(t, r, CheckOptions{})
				wantProblems(t, found, "object-corrupt objects/"+digest.ObjectPath())
				want := []Needer{{Image: image, Names: []string{"deep/er/two", "one"}, Paths: []string{"/b"}}}
				if diff := gocmp.Diff(want, found.Problems[0].NeededBy, cmpopts.EquateComparable(fsverity.Digest{})); diff != "" {
					t.Errorf("needed by (-want +got):\n%s", diff)
				}
			})
			t.Run("object of a stream and an image", func(t *testing.T) {
				r, image, _ := sample(t, alg)
				digest := digestOf(t, r, long)
				flip(t, filepath.Join(r.Path(), "objects", digest.ObjectPath()), 7)
				found := check(t, r, CheckOptions{})
				wantProblems(t, found, "object-corrupt objects/"+digest.ObjectPath())
				want := []Needer{
					{Image: image, Names: []string{"deep/er/two", "one"}, Paths: []string{"/a"}}, {Stream: "layer"},
				}
				if diff := gocmp.Diff(want, found.Problems[0].NeededBy, cmpopts.EquateComparable(fsverity.Digest{})); diff != "" {
					t.Errorf("needed by (-want +got):\n%s", diff)
				}
			})
			t.Run("image", func(t *testing.T) {
				// Each part of an image: header, superblock, inodes, the empty space.
				for _, at := range []int64{0, 20, 1024, 1100, 1024 + 128 + 40, 4000} {
					r, image, _ := sample(t, alg)
					flip(t, filepath.Join(r.Path(), "objects", image.ObjectPath()), at)
					if found := check(t, r, CheckOptions{}); !hasProblem(found, ProblemObject, image) {
						t.Errorf("a bit of byte %d: %+v", at, found.Problems)
					}
				}
			})
			t.Run("stream", func(t *testing.T) {
				r, _, stream := sample(t, alg)
				flip(t, filepath.Join(r.Path(), "objects", stream.ObjectPath()), 60)
				found := check(t, r, CheckOptions{})
				if !hasProblem(found, ProblemObject, stream) {
					t.Errorf("%+v", found.Problems)
				}
			})
			t.Run("cache", func(t *testing.T) {
				r, _, _ := sample(t, alg)
				flip(t, filepath.Join(r.Path(), cacheName), 20)
				wantProblems(t, check(t, r, CheckOptions{}), "cache filecache")
			})
			t.Run("check state", func(t *testing.T) {
				r, _, _ := sample(t, alg)
				interrupt(t, r)
				flip(t, filepath.Join(r.Path(), stateName), 20)
				wantProblems(t, check(t, r, CheckOptions{Resume: true}), "check-state checkstate")
			})
			t.Run("lease", func(t *testing.T) {
				r, _, _ := sample(t, alg)
				l, err := r.NewLease(t.Context(), "test", time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				id := l.ID()
				if err := l.Abandon(); err != nil {
					t.Fatal(err)
				}
				flip(t, filepath.Join(r.Path(), "leases", id), 0)
				wantProblems(t, check(t, r, CheckOptions{}), "lease leases/"+id)
			})
		})
	}
}

// Every bit of meta.json either keeps the repository from being opened, and is named, or is found, or
// says the same.
func TestCheckFindsAFlippedBitOfMeta(t *testing.T) {
	r, _, _ := sample(t, fsverity.SHA256)
	path := filepath.Join(r.Path(), metaName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(whole) * 8 {
		data := slices.Clone(whole)
		data[i/8] ^= 1 << (i % 8)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		other, err := Open(r.Path(), Options{})
		if err != nil {
			if !strings.Contains(err.Error(), metaName) {
				t.Errorf("bit %d of byte %d: %v", i%8, i/8, err)
			}
			continue
		}
		same := other.meta.equal(&r.meta)
		if found := check(t, other, CheckOptions{NoData: true}); !same && len(found.Problems) == 0 {
			t.Errorf("bit %d of byte %d: %s", i%8, i/8, data)
		}
		other.Close()
	}
}

func hasProblem(found Checked, kind ProblemKind, object fsverity.Digest) bool {
	return slices.ContainsFunc(found.Problems, func(p Problem) bool { return p.Kind == kind && p.Object == object })
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	for name, test := range map[string]struct {
		hurt func(t *testing.T, r *Repository, image fsverity.Digest)
		want func(r *Repository, image fsverity.Digest) []string
	}{
		"object": {
			func(t *testing.T, r *Repository, _ fsverity.Digest) {
				remove(t, r, "objects/"+digestOf(t, r, long).ObjectPath())
			},
			func(r *Repository, _ fsverity.Digest) []string {
				return []string{"object-missing objects/" + digestOf(t, r, long).ObjectPath()}
			},
		},
		"size": {
			func(t *testing.T, r *Repository, _ fsverity.Digest) {
				path := filepath.Join(r.Path(), "objects", digestOf(t, r, long).ObjectPath())
				if err := os.Truncate(path, 3); err != nil {
					t.Fatal(err)
				}
			},
			func(r *Repository, _ fsverity.Digest) []string {
				return []string{"object-corrupt objects/" + digestOf(t, r, long).ObjectPath()}
			},
		},
		"image": {
			func(t *testing.T, r *Repository, image fsverity.Digest) { remove(t, r, "objects/"+image.ObjectPath()) },
			func(_ *Repository, image fsverity.Digest) []string {
				return []string{"object-missing objects/" + image.ObjectPath()}
			},
		},
		"entry": {
			func(t *testing.T, r *Repository, image fsverity.Digest) { remove(t, r, "images/"+image.String()) },
			func(*Repository, fsverity.Digest) []string {
				return []string{"link images/refs/deep/er/two", "link images/refs/one"}
			},
		},
		"wrong entry": {
			func(t *testing.T, r *Repository, image fsverity.Digest) {
				remove(t, r, "images/"+image.String())
				other := "../objects/" + digestOf(t, r, long).ObjectPath()
				if err := os.Symlink(other, filepath.Join(r.Path(), "images", image.String())); err != nil {
					t.Fatal(err)
				}
			},
			func(_ *Repository, image fsverity.Digest) []string { return []string{"link images/" + image.String()} },
		},
		"ref that leads nowhere": {
			func(t *testing.T, r *Repository, _ fsverity.Digest) {
				if err := os.Symlink("../../etc/passwd", filepath.Join(r.Path(), "images/refs/bad")); err != nil {
					t.Fatal(err)
				}
			},
			func(*Repository, fsverity.Digest) []string { return []string{"link images/refs/bad"} },
		},
		"foreign file": {
			func(t *testing.T, r *Repository, _ fsverity.Digest) {
				dir := filepath.Join(r.Path(), "objects", digestOf(t, r, long).ObjectPath()[:2])
				if err := os.WriteFile(filepath.Join(dir, "README"), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			},
			func(r *Repository, _ fsverity.Digest) []string {
				return []string{"foreign objects/" + digestOf(t, r, long).ObjectPath()[:2] + "/README"}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, image, _ := sample(t, fsverity.SHA256)
			test.hurt(t, r, image)
			for _, noData := range []bool{false, true} {
				wantProblems(t, check(t, r, CheckOptions{NoData: noData}), test.want(r, image)...)
			}
		})
	}
}

func remove(t *testing.T, r *Repository, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(r.Path(), name)); err != nil {
		t.Fatal(err)
	}
}

// interrupted ends a check's context when some objects have been read.
type interrupted struct {
	after  int
	cancel context.CancelFunc
}

func (i *interrupted) Add(files int, _ int64) {
	if i.after -= files; i.after <= 0 {
		i.cancel()
	}
}

// interrupt begins a check and interrupts it.
func interrupt(t *testing.T, r *Repository) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := r.Check(ctx, CheckOptions{Jobs: 1, Progress: &interrupted{2, cancel}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
}

func TestCheckGoesOnWhereItWasInterrupted(t *testing.T) {
	r, _, _ := sample(t, fsverity.SHA256)
	bad := digestOf(t, r, long)
	flip(t, filepath.Join(r.Path(), "objects", bad.ObjectPath()), 0)
	interrupt(t, r)
	again := check(t, r, CheckOptions{Resume: true})
	if !again.Resumed || again.Read != again.Objects && again.Read != again.Objects+1 { // a bad one is read once more
		t.Errorf("resumed: %+v", again)
	}
	if !hasProblem(again, ProblemObject, bad) {
		t.Errorf("what the first part found is forgotten: %+v", again.Problems)
	}
	if whole := check(t, r, CheckOptions{Resume: true}); whole.Resumed || whole.Read != whole.Objects {
		t.Errorf("after one that was finished: %+v", whole)
	}
}

func TestCheckReadsNoFasterThanItMay(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	importFiles(t, r, files{"a": strings.Repeat("x", 300_000)}, "one")
	start := time.Now()
	found := check(t, r, CheckOptions{Limit: 200_000})
	// The first 200 kB are free.
	if took := time.Since(start); took < time.Second/2 || found.Bytes < 300_000 {
		t.Errorf("%d bytes in %v", found.Bytes, took)
	}
}

func TestCheckNamesAStoreThatIsNotThere(t *testing.T) {
	far := newRepository(t, fsverity.SHA256)
	importFiles(t, far, files{"other": long}, "one")
	near := newRepository(t, fsverity.SHA256)
	if err := SetStores(near.Path(), []string{far.Path()}); err != nil {
		t.Fatal(err)
	}
	near = open(t, near.Path())
	importFiles(t, near, files{"a": long}, "one")
	found := check(t, near, CheckOptions{})
	wantProblems(t, found)
	if found.Read != found.Objects+1 {
		t.Errorf("%d objects are read; want %d, and the one of the store", found.Read, found.Objects)
	}
	digest := digestOf(t, far, long)
	flip(t, filepath.Join(far.Path(), "objects", digest.ObjectPath()), 0)
	wantProblems(t, check(t, near, CheckOptions{}), "object-corrupt "+far.Path()+"/"+digest.ObjectPath())
	if err := os.Rename(far.Path(), far.Path()+".away"); err != nil {
		t.Fatal(err)
	}
	near = open(t, near.Path())
	wantProblems(t, check(t, near, CheckOptions{}), "store-missing stores.json", "object-missing objects/"+digest.ObjectPath())
}

// putStream puts a stream of a few bytes and an object.
func putStream(t *testing.T, tx *Transaction, id, content string) fsverity.Digest {
	t.Helper()
	stored, err := tx.Objects().PutBytes(t.Context(), []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	w := splitstream.NewWriter(splitstream.WriterOptions{Algorithm: tx.r.Algorithm()})
	defer w.Close()
	if _, err := w.Write([]byte("before")); err != nil {
		t.Fatal(err)
	}
	w.Object(stored.Digest, int64(len(content)))
	digest, err := tx.PutStream(t.Context(), id, w)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}
