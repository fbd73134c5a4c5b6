package tree_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/tree"
)

// deepTree returns a chain of directories with a file beside and below each.
func deepTree(t testing.TB, levels int, name string) *tree.Inode {
	t.Helper()
	root := newDir()
	at := root
	for range levels {
		below := newDir()
		must(t, at.Add(tree.Entry{Name: name, Inode: below}))
		must(t, at.Add(tree.Entry{Name: "z-file", Inode: newFile("x")}))
		must(t, at.Add(tree.Entry{Name: "z-sub", Inode: newDir()}))
		at = below
	}
	return root
}

// limitFiles lowers the number of files that the process may have open during the test.
func limitFiles(t testing.TB, n uint64) {
	t.Helper()
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	t.Cleanup(func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old)) })
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: old.Max}))
}

// Depth is bounded neither by PATH_MAX nor by the number of open files nor by the stack.
func TestExtractAndScanDeepTrees(t *testing.T) {
	for _, test := range []struct {
		levels int
		name   string
	}{
		{1500, strings.Repeat("n", tree.MaxName)},
		{5000, "d"},
	} {
		t.Run(fmt.Sprint(test.levels), func(t *testing.T) {
			if testing.Short() && test.levels > 2000 {
				t.Skip("takes seconds")
			}
			root := deepTree(t, test.levels, test.name)
			for _, e := range tree.Walk(root) {
				e.Inode.UID, e.Inode.GID = uint32(os.Getuid()), uint32(os.Getgid())
			}
			dir := t.TempDir()
			limitFiles(t, 256)
			must(t, extract(t, root, dir, nil, tree.ExtractOptions{NoOwner: true, Jobs: 4}))
			if diff := differences(root, scan(t, dir, tree.ScanOptions{Jobs: 4, SkipXattrs: true})); len(diff) > 0 {
				t.Errorf("%d differences, the first: %s", len(diff), diff[0])
			}
			got := scan(t, dir, tree.ScanOptions{Exclude: []string{"**/z-file"}, SkipXattrs: true})
			if count := len(names(got)); count != 2*test.levels+1 {
				t.Errorf("%d names without the files", count)
			}
		})
	}
}

// The name of a file far below PATH_MAX is told in full.
func TestScanNamesDeepFiles(t *testing.T) {
	root := deepTree(t, 100, strings.Repeat("n", tree.MaxName))
	dir := t.TempDir()
	must(t, extract(t, root, dir, nil, tree.ExtractOptions{NoOwner: true}))
	var last string
	sinkErr := errors.New("sink is full")
	sink := sinkFunc(func(f *os.File, _ int64) error {
		last = f.Name()
		if strings.Count(last, "/") > 99+strings.Count(dir, "/") {
			return sinkErr
		}
		return nil
	})
	_, err := tryScan(t, dir, tree.ScanOptions{Sink: sink, InlineMax: -1, Jobs: 1})
	if !errors.Is(err, sinkErr) || !strings.Contains(err.Error(), last) || len(last) < 99*tree.MaxName {
		t.Errorf("got %.100v", err)
	}
}
