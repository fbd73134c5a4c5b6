package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/dumpfile"
	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/internal/treetest"
	"github.com/go-composefs/composefs/tree"
)

// number returns what an environment variable says, or what else holds.
func number(t *testing.T, variable string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(variable)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// eachSeed runs f with the random numbers of one seed after another: a few, or
// COMPOSEFS_FUZZ_RUNS of them, the first of which is COMPOSEFS_FUZZ_SEED, or 0.
func eachSeed(t *testing.T, few uint64, f func(t *testing.T, rng *rand.Rand)) {
	t.Helper()
	first := number(t, "COMPOSEFS_FUZZ_SEED", 0)
	for i := range number(t, "COMPOSEFS_FUZZ_RUNS", few) {
		seed := first + i
		if !t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { f(t, rand.New(rand.NewPCG(seed, 1))) }) {
			return
		}
	}
}

// versionArgs are all ways to ask mkcomposefs for a format.
var versionArgs = [][]string{
	nil,
	{"--min-version=0"},
	{"--min-version=1"},
	{"--max-version=0"},
	{"--max-version=1"},
	{"--min-version=0", "--max-version=1"},
	{"--min-version=1", "--max-version=0"},
}

func pickArgs(rng *rand.Rand, of [][]string) []string { return of[rng.IntN(len(of))] }

func randomDump(rng *rand.Rand, opts treetest.Options) (*tree.Inode, string) {
	opts.Entries = 1 + rng.IntN(300)
	root := treetest.Random(rng, opts)
	var dump bytes.Buffer
	if err := dumpfile.Write(&dump, root, dumpfile.WriteOptions{}); err != nil {
		panic(err)
	}
	return root, dump.String()
}

// bothMake runs both mkcomposefs with the same arguments and image files of their own, requires
// that they do the same, and returns the path of our image.
func bothMake(t *testing.T, stdin string, args ...string) (image string) {
	t.Helper()
	dir := t.TempDir()
	image = filepath.Join(dir, "ours")
	theirs := filepath.Join(dir, "theirs")
	argv := append([]string{"mkcomposefs", "--print-digest"}, args...)
	want := peer(t, stdin, append(argv[:len(argv):len(argv)], theirs)...)
	got := ours(t, stdin, append(argv[:len(argv):len(argv)], image)...)
	if got.exit != want.exit || got.out != want.out {
		t.Fatalf("%v\nours:   exit %d, %q, %q\ntheirs: exit %d, %q, %q",
			args, got.exit, got.out, got.stderr, want.exit, want.out, want.stderr)
	}
	if want.exit != 0 {
		return ""
	}
	ourBytes, theirBytes := readFile(t, image), readFile(t, theirs)
	if !bytes.Equal(ourBytes, theirBytes) {
		t.Fatalf("%v: the images differ", args)
	}
	return image
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRandomDumpsMakeTheImagesOfThePeer(t *testing.T) {
	testenv.Peer(t, "mkcomposefs")
	eachSeed(t, 20, func(t *testing.T, rng *rand.Rand) {
		_, dump := randomDump(rng, treetest.Options{Peer: true})
		for range 2 {
			bothMake(t, dump, append([]string{"--from-file", "-"}, pickArgs(rng, versionArgs)...)...)
		}
	})
}

// avoidReaderDefects takes out of a tree what composefs-info garbles: it reads past the end of
// backing paths of some lengths, and loses an attribute with neither name nor value behind its
// prefix. Sizes of special files are not in the image.
func avoidReaderDefects(root *tree.Inode) {
	for _, e := range tree.Walk(root) {
		n := e.Inode
		if n.Backing != "" {
			n.Backing = (n.Backing + "xxx")[:min(len(n.Backing)+3, tree.MaxTarget)&^3]
		}
		for _, name := range []string{"user.", "security.", "trusted.", "system.posix_acl_access", "system.posix_acl_default"} {
			n.RemoveXattr(name)
		}
		if !n.IsRegular() {
			n.Size = 0
		}
	}
}

func TestRandomImagesReadAsByThePeer(t *testing.T) {
	testenv.Peer(t, "composefs-info")
	eachSeed(t, 20, func(t *testing.T, rng *rand.Rand) {
		root, _ := randomDump(rng, treetest.Options{Peer: true, Plain: true})
		avoidReaderDefects(root)
		image := randomImage(t, rng, root)
		store := halfOfTheObjects(t, rng, root)
		lines := [][]string{
			{"ls", image},
			{"dump", image},
			{"objects", image, image},
			{"missing-objects", image},
			{"--basedir=" + store, "missing-objects", image},
			{"measure-file", image},
		}
		if len(root.Children) > 0 {
			filter := "--filter=" + root.Children[rng.IntN(len(root.Children))].Name
			for _, command := range []string{"ls", "dump", "objects"} {
				lines = append(lines, []string{filter, command, image})
			}
		}
		for _, args := range lines {
			argv := append([]string{"composefs-info"}, args...)
			got, want := ours(t, "", argv...), peer(t, "", argv...)
			if got != want {
				t.Fatalf("%v: exit %d, %q, theirs %d, %q (-theirs +ours)\n%.3000s", args, got.exit, got.stderr, want.exit, want.stderr,
					cmp.Diff(strings.SplitAfter(want.out, "\n"), strings.SplitAfter(got.out, "\n")))
			}
		}
	})
}

// randomImage writes the image of a tree in any format of the C programs.
func randomImage(t *testing.T, rng *rand.Rand, root *tree.Inode) string {
	t.Helper()
	var dump bytes.Buffer
	if err := dumpfile.Write(&dump, root, dumpfile.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "image")
	argv := append([]string{"mkcomposefs"}, pickArgs(rng, versionArgs)...)
	if o := ours(t, dump.String(), append(argv, "--from-file", "-", image)...); o.exit != 0 {
		t.Fatal(o.stderr)
	}
	return image
}

// halfOfTheObjects makes a store with files of the names that half of the objects have.
func halfOfTheObjects(t *testing.T, rng *rand.Rand, root *tree.Inode) string {
	t.Helper()
	store := t.TempDir()
	for _, e := range tree.Walk(root) {
		path := e.Inode.BackingPath()
		if !e.Inode.IsExternal() || path == "" || len(path) > 200 || rng.IntN(2) == 0 {
			continue
		}
		path = filepath.Join(store, path)
		if os.MkdirAll(filepath.Dir(path), 0o755) != nil || os.WriteFile(path, nil, 0o644) != nil {
			continue // two paths of which one is the other's directory
		}
	}
	return store
}
