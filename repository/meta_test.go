package repository

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
)

// formatsByVersion are the image formats by what cfsctl calls them.
var formatsByVersion = map[string]erofs.Format{"0": erofs.FormatV0, "1": erofs.FormatV1, "2": erofs.FormatV2}

// eachKind runs a test with each kind of repository, newly made.
func eachKind(t *testing.T, test func(t *testing.T, alg fsverity.Algorithm, version, path string)) {
	bothAlgorithms(t, func(t *testing.T, alg fsverity.Algorithm) {
		for version, format := range formatsByVersion {
			t.Run("V"+version, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "repo")
				if _, err := Create(path, CreateOptions{Algorithm: alg, Format: format, Insecure: true}); err != nil {
					t.Fatal(err)
				}
				test(t, alg, version, path)
			})
		}
	})
}

func TestMetaIsAsCfsctlWritesIt(t *testing.T) {
	eachKind(t, func(t *testing.T, alg fsverity.Algorithm, version, path string) {
		c := initCfsctl(t, alg, "--erofs-version", version)
		if diff := gocmp.Diff(readMetaFile(t, c.path), readMetaFile(t, path)); diff != "" {
			t.Errorf("not what cfsctl writes (-cfsctl +here):\n%s", diff)
		}
	})
}

// TestMetaIsAsCfsctlWroteIt compares with files of cfsctl 0.9.4, and so needs none.
func TestMetaIsAsCfsctlWroteIt(t *testing.T) {
	eachKind(t, func(t *testing.T, alg fsverity.Algorithm, version, path string) {
		kept, err := os.ReadFile(fmt.Sprintf("testdata/meta/%s-v%s.json", alg.Hash, version))
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(string(kept), readMetaFile(t, path)); diff != "" {
			t.Errorf("not what cfsctl wrote (-cfsctl +here):\n%s", diff)
		}
	})
}

func readMetaFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path, metaName))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// withMeta makes a repository with an image, and gives it another meta.json.
func withMeta(t *testing.T, meta string) string {
	t.Helper()
	r := newRepository(t, fsverity.SHA256)
	importFiles(t, r, files{"a": "content"}, "name")
	if err := os.WriteFile(filepath.Join(r.Path(), metaName), []byte(meta), 0o644); err != nil {
		t.Fatal(err)
	}
	return r.Path()
}

// metaOf returns a meta.json of SHA-256 with these features and further fields.
func metaOf(features, more string) string {
	return `{"version": 1, "algorithm": "fsverity-sha256-12", "features": {` + features + `}` + more + `}`
}

const v1Flag = `"compatible": [], "read-only-compatible": ["v1_erofs"], "incompatible": []`

// readableMetas are such that programs open the repository, with the format of the images they make.
var readableMetas = map[string]struct {
	meta string
	want erofs.Format
}{
	"as older programs wrote it":       {metaOf("", ""), erofs.FormatV2},
	"no features":                      {`{"version": 1, "algorithm": "fsverity-sha256-12"}`, erofs.FormatV2},
	"only the flag":                    {metaOf(v1Flag, ""), erofs.FormatV1},
	"the flag overrules 2":             {metaOf(v1Flag, `, "erofs_formats": {"default": 2}`), erofs.FormatV1},
	"the flag does not overrule 0":     {metaOf(v1Flag, `, "erofs_formats": {"default": 0}`), erofs.FormatV0},
	"1 without the flag":               {metaOf("", `, "erofs_formats": {"default": 1}`), erofs.FormatV1},
	"2":                                {metaOf("", `, "erofs_formats": {"default": 2}`), erofs.FormatV2},
	"0":                                {metaOf("", `, "erofs_formats": {"default": 0}`), erofs.FormatV0},
	"a further one":                    {metaOf(v1Flag, `, "erofs_formats": {"default": 1, "extra": [2]}`), erofs.FormatV1},
	"a field of earlier programs":      {metaOf("", `, "erofs_version": 1`), erofs.FormatV2},
	"a field of later programs":        {metaOf(v1Flag+`, "more": 1`, `, "erofs_formats": {"default": 1, "more": {}}, "more": []`), erofs.FormatV1},
	"names differ in case":             {metaOf(v1Flag, `, "erofs_formats": {"default": 1, "Default": 2}, "Version": 2`), erofs.FormatV1},
	"a compatible feature, unknown":    {metaOf(`"compatible": ["new"]`, `, "erofs_formats": {"default": 1}`), erofs.FormatV1},
	"names of features are in no list": {metaOf(`"new": ["v1_erofs"]`, ""), erofs.FormatV2},
}

func TestMetaSaysTheFormat(t *testing.T) {
	for name, test := range readableMetas {
		t.Run(name, func(t *testing.T) {
			path := withMeta(t, test.meta)
			r := open(t, path)
			if got := r.Meta(); got.Format() != test.want {
				t.Errorf("images are %v, want %v", got.Format(), test.want)
			}
			digest := importFiles(t, r, files{"a": "more"}, "more")
			img, err := r.OpenImage(digest.String())
			if err != nil {
				t.Fatal(err)
			}
			if got := img.Format(); got != test.want {
				t.Errorf("made a %v image, want %v", got, test.want)
			}
			if err := img.Close(); err != nil {
				t.Fatal(err)
			}
			if got := readMetaFile(t, path); got != test.meta {
				t.Errorf("%s has become %s", metaName, got)
			}
		})
	}
}

func TestMetaSaysTheSameFormatToCfsctl(t *testing.T) {
	for name, test := range readableMetas {
		t.Run(name, func(t *testing.T) {
			path := withMeta(t, test.meta)
			r, c, dir := open(t, path), newCfsctl(t, path), rootfs(t)
			want := strings.TrimSpace(c.run(t, "create-image", "--no-propagate-usr-to-root", dir))
			if got := scanTo(t, begin(t, r), dir); want != "sha256:"+got.String() {
				t.Errorf("the image of a directory is %s, with cfsctl %s", got, want)
			}
		})
	}
}

func TestMetaThatCannotBeUsed(t *testing.T) {
	for name, test := range map[string]struct {
		meta string
		want error
	}{
		"later version":                 {`{"version": 2, "algorithm": "fsverity-sha256-12", "features": {}}`, ErrIncompatible},
		"later version, all else other": {`{"version": 2, "algorithm": {"hash": 1}, "features": 7}`, ErrIncompatible},
		"unknown feature":               {metaOf(`"incompatible": ["new"]`, ""), ErrIncompatible},
		"one of two features unknown":   {metaOf(`"incompatible": ["object_stores", "new"]`, ""), ErrIncompatible},
		"flag where it must be known":   {metaOf(`"incompatible": ["v1_erofs"]`, ""), ErrIncompatible},
		"unknown format":                {metaOf("", `, "erofs_formats": {"default": 3}`), ErrIncompatible},
		"unknown further format":        {metaOf("", `, "erofs_formats": {"default": 1, "extra": [3]}`), ErrIncompatible},
		"larger blocks":                 {`{"version": 1, "algorithm": "fsverity-sha256-16", "features": {}}`, ErrIncompatible},
		"short name of a hash":          {`{"version": 1, "algorithm": "sha256", "features": {}}`, ErrIncompatible},
		"unknown hash":                  {`{"version": 1, "algorithm": "fsverity-blake3-12", "features": {}}`, ErrIncompatible},
		"no algorithm":                  {`{"version": 1, "features": {}}`, ErrIncompatible},
		"no version":                    {`{"algorithm": "fsverity-sha256-12", "features": {}}`, ErrCorrupt},
		"version in another case":       {`{"Version": 1, "algorithm": "fsverity-sha256-12", "features": {}}`, ErrCorrupt},
		"formats without default":       {metaOf("", `, "erofs_formats": {"extra": [1]}`), ErrCorrupt},
		"features are no object":        {`{"version": 1, "algorithm": "fsverity-sha256-12", "features": null}`, ErrCorrupt},
		"features are no list":          {metaOf(`"incompatible": "new"`, ""), ErrCorrupt},
		"empty":                         {"", ErrCorrupt},
		"null":                          {"null", ErrCorrupt},
		"an array":                      {"[]", ErrCorrupt},
		"cut off":                       {metaOf("", "")[:40], ErrCorrupt},
		"large":                         {metaOf("", "") + strings.Repeat(" ", maxMeta), ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			path := withMeta(t, test.meta)
			before := snapshot(t, path)
			_, err := Open(path, Options{})
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), metaName) {
				t.Errorf("open: %v, want %v that names the file", err, test.want)
			}
			_, errCreate := Create(path, CreateOptions{Insecure: true})
			_, errUpgrade := Upgrade(path)
			for _, err := range []error{errCreate, errUpgrade, SetStores(path, nil)} {
				if !errors.Is(err, test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
			}
			if diff := gocmp.Diff(before, snapshot(t, path)); diff != "" {
				t.Errorf("something was written (-before +after):\n%s", diff)
			}
		})
	}
}

func TestUnknownFeatureForWritersMakesReadOnly(t *testing.T) {
	path := withMeta(t, metaOf(`"read-only-compatible": ["v1_erofs", "new"]`, ""))
	r := open(t, path)
	before := snapshot(t, path)
	img, err := r.OpenImage("name")
	if err != nil {
		t.Fatal(err)
	}
	if err := img.Close(); err != nil {
		t.Fatal(err)
	}
	for what, err := range changes(t, r) {
		if !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "new") {
			t.Errorf("%s: %v, want ErrReadOnly that names the feature", what, err)
		}
	}
	if diff := gocmp.Diff(before, snapshot(t, path)); diff != "" {
		t.Errorf("something was written (-before +after):\n%s", diff)
	}
}

// changes tries everything that changes a repository with an image "name", and returns the errors.
func changes(t *testing.T, r *Repository) map[string]error {
	t.Helper()
	ctx := t.Context()
	_, errBegin := r.Begin(ctx, TransactionOptions{})
	_, errLease := r.NewLease(ctx, "test", time.Hour)
	_, errCollect := r.Collect(ctx, CollectOptions{})
	_, errDry := r.Collect(ctx, CollectOptions{DryRun: true})
	_, errLocal := r.Localize(ctx, "name")
	return map[string]error{
		"begin": errBegin, "lease": errLease, "collect": errCollect, "collect dry": errDry, "localize": errLocal,
		"tag": r.TagImage(ctx, "other", "name"), "untag": r.UntagImage(ctx, "name"),
		"untag stream": r.UntagStream(ctx, "name"), "remove lease": r.RemoveLease("none"),
		"set stores": SetStores(r.Path(), []string{t.TempDir()}),
	}
}

func TestUnknownFieldsAreKept(t *testing.T) {
	const before = `{
  "version": 1,
  "algorithm": "fsverity-sha256-12",
  "features": {
    "compatible": [
      "nice"
    ],
    "read-only-compatible": [
      "v1_erofs"
    ],
    "incompatible": [],
    "more": [
      "a"
    ]
  },
  "erofs_formats": {
    "default": 1,
    "extra": [
      2
    ],
    "more": null
  },
  "erofs_version": 1,
  "more": {
    "b": [
      1.50,
      {}
    ]
  }
}
`
	path := withMeta(t, before)
	other := newRepository(t, fsverity.SHA256)
	if err := SetStores(path, []string{other.Path()}); err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(before, `"incompatible": []`, "\"incompatible\": [\n      \"object_stores\"\n    ]", 1)
	if diff := gocmp.Diff(want, readMetaFile(t, path)); diff != "" {
		t.Errorf("with a store (-want +got):\n%s", diff)
	}
	if err := SetStores(path, nil); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(before, readMetaFile(t, path)); diff != "" {
		t.Errorf("without it again (-want +got):\n%s", diff)
	}
}
