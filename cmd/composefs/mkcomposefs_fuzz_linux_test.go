package main

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/internal/treetest"
	"github.com/go-composefs/composefs/tree"
)

// directoryArgs are options that change what of a directory goes into the image.
var directoryArgs = [][]string{
	nil,
	nil,
	{"--use-epoch"},
	{"--skip-devices"},
	{"--skip-xattrs"},
	{"--user-xattrs"},
	{"--use-epoch", "--skip-devices", "--skip-xattrs", "--threads=1"},
	{"--use-epoch", "--user-xattrs", "--threads=3"},
	{"--skip-xattrs", "--user-xattrs"}, // refused
}

func TestRandomDirectoriesMakeTheImagesOfThePeer(t *testing.T) {
	testenv.Root(t)
	testenv.Peer(t, "mkcomposefs")
	eachSeed(t, 20, func(t *testing.T, rng *rand.Rand) {
		dir := randomDirectory(t, rng)
		for range 2 {
			args := append([]string{dir}, pickArgs(rng, versionArgs)...)
			bothMake(t, "", append(args, pickArgs(rng, directoryArgs)...)...)
		}
	})
}

func TestRandomStoresEqualThoseOfThePeer(t *testing.T) {
	testenv.Root(t)
	testenv.Peer(t, "mkcomposefs")
	eachSeed(t, 5, func(t *testing.T, rng *rand.Rand) {
		dir := randomDirectory(t, rng)
		ourStore, theirStore := filepath.Join(t.TempDir(), "new", "store"), filepath.Join(t.TempDir(), "new", "store")
		for range 2 { // into a fresh store, then into a full one
			got := ours(t, "", "mkcomposefs", "--print-digest-only", "--digest-store="+ourStore, dir)
			want := peer(t, "", "mkcomposefs", "--print-digest-only", "--digest-store="+theirStore, dir)
			if got != want {
				t.Fatalf("exit %d, %q, %q, theirs %d, %q, %q", got.exit, got.out, got.stderr, want.exit, want.out, want.stderr)
			}
			if diff := cmp.Diff(storeFiles(t, theirStore), storeFiles(t, ourStore)); diff != "" {
				t.Fatalf("the stores differ (-theirs +ours)\n%s", diff)
			}
		}
	})
}

// randomDirectory makes a directory with all that a filesystem can hold.
func randomDirectory(t *testing.T, rng *rand.Rand) string {
	t.Helper()
	contents := treetest.Objects{}
	root := treetest.Random(rng, treetest.Options{Entries: 1 + rng.IntN(120), Real: true, Peer: true, Objects: contents})
	dir := t.TempDir()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := tree.Extract(t.Context(), root, f, contents, tree.ExtractOptions{}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// storeFile is what is compared of a file in a store.
type storeFile struct {
	Mode fs.FileMode
	Data string
}

func storeFiles(t *testing.T, store string) map[string]storeFile {
	t.Helper()
	files := map[string]storeFile{}
	if _, err := os.Stat(store); err != nil {
		return files // made only if there is something to store, by the peer
	}
	err := filepath.WalkDir(store, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == store {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		file := storeFile{Mode: info.Mode()}
		if !e.IsDir() {
			file.Data = string(readFile(t, path))
		}
		name, err := filepath.Rel(store, path)
		files[name] = file
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
