package erofs_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/dumpfile"
	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/tree"
)

// dumpImage prints an image as composefs-info dump does: the first name of an inode is its
// own place, and attributes come in the order of the image.
func dumpImage(t testing.TB, image []byte) string {
	t.Helper()
	order := map[*tree.Inode][]tree.Xattr{}
	root, err := openImage(t, image).Tree(erofs.TreeOptions{XattrOrder: order})
	if err != nil {
		t.Fatal(err)
	}
	tree.SettleLinks(root)
	var dump bytes.Buffer
	if err := dumpfile.Write(&dump, root, dumpfile.WriteOptions{XattrOrder: order}); err != nil {
		t.Fatal(err)
	}
	return dump.String()
}

// peerDump has composefs-info dump an image.
func peerDump(t testing.TB, image []byte) string {
	t.Helper()
	program := testenv.Peer(t, "composefs-info")
	file := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(file, image, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "dump", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func diffLines(t testing.TB, want, got string) {
	t.Helper()
	if want != got {
		t.Errorf("(-composefs-info +Tree)\n%.3000s", cmp.Diff(strings.SplitAfter(want, "\n"), strings.SplitAfter(got, "\n")))
	}
}

func TestDumpOfImageEqualsThatOfPeer(t *testing.T) {
	peerDumps(t, func(t *testing.T, dump []byte) {
		for _, args := range [][]string{nil, {"--min-version=1"}} {
			image, err := peerImage(t, dump, args...)
			if err != nil {
				t.Fatal(err)
			}
			diffLines(t, peerDump(t, image), dumpImage(t, image))
		}
	})
}

// What mkcomposefs makes of random trees loads as composefs-info says, and gives the same image
// when it is written again.
func TestRandomTreesThroughPeer(t *testing.T) {
	for seed := range uint64(40) {
		root := plainTree(seed)
		for _, e := range tree.Walk(root) {
			n := e.Inode
			// composefs-info reads past the end of some backing paths, loses an attribute
			// with neither name nor value behind its prefix, and does not tell the size
			// that some device had.
			if n.Backing != "" {
				n.Backing = (n.Backing + "xxx")[:min(len(n.Backing)+3, tree.MaxTarget)&^3]
			}
			for _, name := range []string{"user.", "trusted.", "trusted.overlay.", "system.posix_acl_access", "system.posix_acl_default"} {
				n.RemoveXattr(name)
			}
			if !n.IsRegular() {
				n.Size = 0
			}
		}
		var dump bytes.Buffer
		if err := dumpfile.Write(&dump, root, dumpfile.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			image, err := peerImage(t, dump.Bytes())
			if failed := (*peerError)(nil); errors.As(err, &failed) {
				t.Fatalf("mkcomposefs: %v", err)
			}
			checkFixedPoint(t, image)
			diffLines(t, peerDump(t, image), dumpImage(t, image))
			for _, p := range checkedFor(t, openImage(t, image), erofs.CheckOptions{}, unsound) {
				t.Error(p)
			}
		})
	}
}
