package tree_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-composefs/composefs/tree"
)

func scan(t testing.TB, dir string, opts tree.ScanOptions) *tree.Inode {
	t.Helper()
	root, err := tryScan(t, dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func tryScan(t testing.TB, dir string, opts tree.ScanOptions) (*tree.Inode, error) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return tree.Scan(t.Context(), f, opts)
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, data, 0o644))
}

// names lists the paths of a tree.
func names(root *tree.Inode) []string {
	var list []string
	for path := range tree.Walk(root) {
		list = append(list, string(path))
	}
	return list
}

func timeOf(sec, nsec int64) time.Time { return time.Unix(sec, nsec) }
