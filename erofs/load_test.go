package erofs_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/tree"
)

// openImage opens an image that lies in memory.
func openImage(t testing.TB, image []byte) *erofs.Image {
	t.Helper()
	img, err := erofs.Open(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func loadTree(t testing.TB, image []byte) *tree.Inode {
	t.Helper()
	root, err := openImage(t, image).Tree(erofs.TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// peerImage has mkcomposefs make the image of a dump.
func peerImage(t testing.TB, dump []byte, args ...string) ([]byte, error) {
	t.Helper()
	mkcomposefs := testenv.Peer(t, "mkcomposefs")
	out := filepath.Join(t.TempDir(), "image")
	cmd := exec.Command(mkcomposefs, append(append([]string{"--from-file"}, args...), "-", out)...)
	cmd.Stdin = bytes.NewReader(dump)
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, &peerError{string(text), err}
	}
	image, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return image, nil
}

type peerError struct {
	text string
	err  error
}

func (e *peerError) Error() string { return e.err.Error() + ": " + e.text }

// peerDumps calls f with every dump of the peers' tests that is to succeed.
func peerDumps(t *testing.T, f func(t *testing.T, dump []byte)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(testenv.Shared(t, "testdata/peer-dumps"), "*.dump*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		if strings.HasPrefix(name, "should-fail") || !strings.HasSuffix(name, ".dump") && !strings.HasSuffix(name, ".dump.gz") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			dump, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(name, ".gz") {
				z, err := gzip.NewReader(bytes.NewReader(dump))
				if err != nil {
					t.Fatal(err)
				}
				if dump, err = io.ReadAll(z); err != nil {
					t.Fatal(err)
				}
			}
			f(t, dump)
		})
	}
}

// checkFixedPoint loads an image and writes it again.
func checkFixedPoint(t testing.TB, image []byte) {
	t.Helper()
	img := openImage(t, image)
	root, err := img.Tree(erofs.TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if _, err := erofs.Write(&again, root, erofs.WriteOptions{Format: img.Format()}); err != nil {
		t.Fatal(err)
	}
	if i := firstDifference(image, again.Bytes()); i >= 0 {
		t.Errorf("image of %d bytes, written again it has %d bytes and differs from byte %d", len(image), again.Len(), i)
	}
}

func firstDifference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// image -> tree -> image is the identity for what mkcomposefs writes.
func TestTreeOfPeerImageIsFixedPoint(t *testing.T) {
	peerDumps(t, func(t *testing.T, dump []byte) {
		for _, args := range [][]string{nil, {"--min-version=1"}, {"--max-version=0"}} {
			image, err := peerImage(t, dump, args...)
			if err != nil {
				t.Fatal(err)
			}
			checkFixedPoint(t, image)
		}
	})
}
