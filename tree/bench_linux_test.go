package tree_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/go-composefs/composefs/internal/treetest"
	"github.com/go-composefs/composefs/tree"
)

// manyFiles makes 10,000 files of 4 KiB on average in 100 directories.
func manyFiles(b *testing.B) (dir string, bytes int64) {
	b.Helper()
	dir = b.TempDir()
	rng := rand.New(rand.NewPCG(1, 1))
	data := make([]byte, 8192)
	for i := range 10_000 {
		size := rng.IntN(len(data))
		bytes += int64(size)
		write(b, fmt.Sprintf("%s/%02d/%d", dir, i%100, i), data[:size])
	}
	return dir, bytes
}

func BenchmarkScan(b *testing.B) {
	dir, bytes := manyFiles(b)
	b.SetBytes(bytes)
	b.ReportAllocs()
	for b.Loop() {
		scan(b, dir, tree.ScanOptions{})
	}
}

func BenchmarkExtract(b *testing.B) {
	objects := treetest.Objects{}
	root := treetest.Random(rand.New(rand.NewPCG(1, 1)), treetest.Options{Real: true, Objects: objects, Entries: 10_000})
	dir := b.TempDir()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		to := fmt.Sprintf("%s/%d", dir, i)
		must(b, os.Mkdir(to, 0o755))
		must(b, extract(b, root, to, objects, asUser))
	}
}
