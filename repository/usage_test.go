package repository

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/go-composefs/composefs/fsverity"
)

func usage(t *testing.T, r *Repository) *Usage {
	t.Helper()
	u, err := r.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestUsageTellsWhatIsSharedWithWhom(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	all, ab, c := strings.Repeat("all", 1000), strings.Repeat("ab", 1000), strings.Repeat("c", 777)
	importFiles(t, r, files{"1": all, "2": ab, "3": all}, "a")
	importFiles(t, r, files{"1": all, "2": ab}, "b")
	importFiles(t, r, files{"1": all, "2": c}, "c", "also/c")
	lost := importFiles(t, r, files{"1": "of an image without a name"})
	tx := begin(t, r)
	putStream(t, tx, "layer", "of a stream")
	putStream(t, tx, "other", c)
	if _, err := tx.Objects().PutBytes(t.Context(), []byte("of nobody")); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	u := usage(t, r)
	got := map[string][4]int64{}
	for _, img := range u.Images {
		got[strings.Join(img.Refs, " ")] = [4]int64{img.Files, img.Stored, img.Exclusive - img.Image, img.InStreams}
	}
	want := map[string][4]int64{
		"a": {8000, 5000, 0, 0}, "b": {5000, 5000, 0, 0}, "also/c c": {3777, 3777, 777, 777}, "": {26, 26, 26, 0},
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("images: files, stored, exclusive, in streams (-want +got):\n%s", diff)
	}
	// In the order of Images: a, also/c, b, the one without a name.
	if diff := gocmp.Diff([][]int64{{5000, 3000, 5000, 0}, {3000, 3777, 3000, 0}, {5000, 3000, 5000, 0}, {0, 0, 0, 26}}, u.Shared); diff != "" {
		t.Errorf("shared (-want +got):\n%s", diff)
	}
	if u.Unneeded != int64(len("of nobody")) || u.Files != 8000+5000+3777+26 || u.Streams != 2 {
		t.Errorf("%+v", u)
	}
	for content, want := range map[string]int{all: 3, ab: 2, c: 1, "of nobody": 0, "of a stream": 0, "not there": 0} {
		if got := u.Sharing(digestOf(t, r, content)); got != want {
			t.Errorf("%d images share %.10q, want %d", got, content, want)
		}
	}
	disk := int64(0)
	n := 0
	for digest, err := range r.objects.All() {
		if err != nil {
			t.Fatal(err)
		}
		size, err := r.objects.Size(digest)
		if err != nil {
			t.Fatal(err)
		}
		disk += size
		n++
	}
	if u.Stored != disk || u.Objects != n {
		t.Errorf("%d bytes in %d objects are stored; the directory has %d in %d", u.Stored, u.Objects, disk, n)
	}
	_ = lost
}

func TestUsageCountsOtherStores(t *testing.T) {
	far := newRepository(t, fsverity.SHA512)
	importFiles(t, far, files{"other": long}, "one")
	r := newRepository(t, fsverity.SHA512)
	if err := SetStores(r.Path(), []string{far.Path()}); err != nil {
		t.Fatal(err)
	}
	r = open(t, r.Path())
	importFiles(t, r, files{"a": long, "b": "near"}, "one")
	if u := usage(t, r); u.Elsewhere != int64(len(long)) || u.Images[0].Stored != int64(len(long)+4) {
		t.Errorf("%+v", u)
	}
}

// More images than bits of a word.
func TestUsageOfManyImages(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	const n = 70
	for i := range n {
		importFiles(t, r, files{"common": long, "own": fmt.Sprintf("own content %03d", i)}, fmt.Sprintf("image%03d", i))
	}
	u := usage(t, r)
	for i, img := range u.Images {
		if img.Exclusive-img.Image != 15 {
			t.Errorf("%v: exclusive %d", img.Refs, img.Exclusive-img.Image)
		}
		for j, shared := range u.Shared[i] {
			if want := int64(len(long)); i != j && shared != want || i == j && shared != want+15 {
				t.Errorf("shared by %d and %d: %d", i, j, shared)
			}
		}
	}
}

func TestUsageOfARepositoryWithABrokenImage(t *testing.T) {
	r, image, _ := sample(t, fsverity.SHA256)
	importFiles(t, r, files{"x": "of another image"}, "whole")
	remove(t, r, "objects/"+image.ObjectPath())
	u := usage(t, r)
	i := slices.IndexFunc(u.Images, func(img ImageUsage) bool { return img.Digest == image })
	if u.Images[i].Err == nil || u.Images[1-i].Files != 16 {
		t.Errorf("%+v", u.Images)
	}
}

func TestNeededByNamesAllPaths(t *testing.T) {
	r, image, _ := sample(t, fsverity.SHA256)
	many := files{}
	var paths []string
	for i := range 300 {
		many[fmt.Sprintf("%03d", i)] = long
		paths = append(paths, fmt.Sprintf("/%03d", i))
	}
	other := importFiles(t, r, many, "many")
	got, err := r.NeededBy(t.Context(), digestOf(t, r, long))
	if err != nil {
		t.Fatal(err)
	}
	want := []Needer{
		{Image: image, Names: []string{"deep/er/two", "one"}, Paths: []string{"/a"}},
		{Image: other, Names: []string{"many"}, Paths: paths},
		{Stream: "layer"},
	}
	if diff := gocmp.Diff(want, got, cmpopts.EquateComparable(fsverity.Digest{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	flip(t, filepath.Join(r.Path(), "objects", digestOf(t, r, long).ObjectPath()), 0)
	found := check(t, r, CheckOptions{})
	if n := found.Problems[0].NeededBy[1]; len(n.Paths) != 100 || n.More != 200 {
		t.Errorf("a problem names %d paths and %d more", len(n.Paths), n.More)
	}
}

func TestFindObject(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	tx := begin(t, r)
	seen := map[string]fsverity.Digest{}
	ambiguous := ""
	for i := 0; ambiguous == ""; i++ { // until two digests begin with the same three digits
		stored, err := tx.Objects().PutBytes(t.Context(), fmt.Append(nil, i))
		if err != nil {
			t.Fatal(err)
		}
		prefix := stored.Digest.String()[:3]
		if _, ok := seen[prefix]; ok {
			ambiguous = prefix
		}
		seen[prefix] = stored.Digest
	}
	if _, err := r.FindObject(ambiguous); !errors.Is(err, ErrAmbiguous) {
		t.Errorf("%s: %v", ambiguous, err)
	}
	digest := seen[ambiguous]
	if got, err := r.FindObject(digest.String()[:20]); err != nil || got != digest {
		t.Errorf("got %v, %v", got, err)
	}
	for _, word := range []string{"xy12", "a", "", digest.String() + "0"} {
		if _, err := r.FindObject(word); !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrAmbiguous) {
			t.Errorf("%q: %v", word, err)
		}
	}
}
