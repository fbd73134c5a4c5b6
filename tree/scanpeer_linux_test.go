package tree_test

import (
	"bytes"
	"math/rand/v2"
	"os/exec"
	"testing"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/internal/treetest"
	"github.com/go-composefs/composefs/tree"
)

// A directory gives the image that mkcomposefs makes of it, with each of its options.
func TestScanGivesTheImageOfMkcomposefs(t *testing.T) {
	testenv.Root(t)
	mkcomposefs := testenv.Peer(t, "mkcomposefs")
	options := []struct {
		flag string
		scan tree.ScanOptions
	}{
		{"--threads=2", tree.ScanOptions{}},
		{"--use-epoch", tree.ScanOptions{UseEpoch: true}},
		{"--skip-xattrs", tree.ScanOptions{SkipXattrs: true}},
		{"--user-xattrs", tree.ScanOptions{UserXattrs: true}},
		{"--skip-devices", tree.ScanOptions{SkipDevices: true}},
	}
	for seed := range uint64(12) {
		objects := treetest.Objects{}
		root := treetest.Random(rand.New(rand.NewPCG(seed, 8)), treetest.Options{Real: true, Peer: true, Objects: objects})
		dir := t.TempDir()
		must(t, extract(t, root, dir, objects, tree.ExtractOptions{}))
		for _, o := range options {
			cmd := exec.Command(mkcomposefs, o.flag, dir, "-")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			want, err := cmd.Output()
			if err != nil {
				t.Fatalf("seed %d: mkcomposefs %s: %v\n%s", seed, o.flag, err, &stderr)
			}
			var got bytes.Buffer
			if _, err := erofs.Write(&got, scan(t, dir, o.scan), erofs.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(want, got.Bytes()) {
				t.Errorf("seed %d: another image with %s", seed, o.flag)
			}
		}
	}
}
