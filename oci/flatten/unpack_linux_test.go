package flatten_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/oci/flatten"
	"github.com/go-composefs/composefs/tree"
)

// unpack has umoci make a root directory of layers.
func unpack(t *testing.T, layers ...[]byte) (*tree.Inode, error) {
	t.Helper()
	program := testenv.Peer(t, "umoci")
	bundle := filepath.Join(t.TempDir(), "bundle")
	if _, err := run(t, program, "unpack", "--image", ociLayout(t, layers...)+":tag", bundle); err != nil {
		return nil, err
	}
	dir, err := os.Open(filepath.Join(bundle, "rootfs"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	root, err := tree.Scan(t.Context(), dir, tree.ScanOptions{Hardlinks: true})
	if err != nil {
		t.Fatal(err)
	}
	return root, nil
}

// otherOfUmoci are rules for which umoci 0.4.7 has another result, or none, and why.
var otherOfUmoci = map[string]string{
	"whiteout after what implies the directory": "keeps the metadata that lower layers have, if the whiteout comes later",
	"opaque, last":                          "the same",
	"whiteouts of nobody's names":           "takes the directory itself for removed, and fails",
	"what aufs has for itself":              "unpacks it",
	"hard link to itself":                   "removes the file first, and fails",
	"hard link over its target's directory": "the same",
	"global headers":                        "fails",
}

func TestRulesAreThoseOfUmoci(t *testing.T) {
	testenv.Root(t)
	for _, test := range rules {
		t.Run(test.name, func(t *testing.T) {
			var tars [][]byte
			for _, entries := range test.layers {
				tars = append(tars, makeTar(t, entries...))
			}
			root, err := unpack(t, tars...)
			if why := otherOfUmoci[test.name]; why != "" {
				if err == nil && cmp.Equal(test.want, lines(root)) {
					t.Errorf("is the same, and not: umoci %s", why)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, lines(root)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRandomImagesAreThoseOfUmoci(t *testing.T) {
	testenv.Root(t)
	images := uint64(20)
	if testing.Short() {
		images = 3
	}
	for seed := range images {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			layers := randomImage(t, seed, true)
			want, err := unpack(t, layers...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := newMemory(fsverity.SHA256).flatten(t, flatten.Options{}, layers...)
			if err != nil {
				t.Fatal(err)
			}
			for change := range tree.Compare(want, got) {
				t.Error(change)
			}
		})
	}
}
