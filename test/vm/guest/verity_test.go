//go:build vmguest

package guest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
)

func TestKernelMeasuresWhatIsComputed(t *testing.T) {
	const block = 4096
	// 128 hashes of SHA-256 fit in a block, and 64 of SHA-512: a level more begins there.
	sizes := []int{0, 1, block - 1, block, block + 1, 64*block - 1, 64 * block, 64*block + 1, 128*block - 1, 128 * block, 128*block + 1}
	tests := []struct {
		name    string
		options fsverity.Options
		sizes   []int
	}{
		{"sha256", fsverity.Options{}, sizes},
		{"sha512", fsverity.Options{Algorithm: fsverity.SHA512}, append(sizes, 64*64*block, 64*64*block+1)},
		{"sha256 with short salt", fsverity.Options{Salt: []byte{7}}, sizes},
		{"sha256 with long salt", fsverity.Options{Salt: bytes.Repeat([]byte{1, 2}, 16)}, sizes},
		{"sha512 with salt", fsverity.Options{Algorithm: fsverity.SHA512, Salt: []byte("salt")}, sizes},
	}
	dir := workDir(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, size := range test.sizes {
				content := make([]byte, size)
				for i := range content {
					content[i] = byte(i / 7)
				}
				path := filepath.Join(dir, fmt.Sprint(t.Name()[len("TestKernel"):], size))
				writeFile(t, path, content)
				f := open(t, path)
				computed, err := fsverity.File(t.Context(), f, int64(size), fsverity.FileOptions{Options: test.options})
				if err != nil {
					t.Fatal(err)
				}
				if err := fsverity.Enable(f, fsverity.EnableOptions{Options: test.options}); err != nil {
					t.Fatalf("%d bytes: %v", size, err)
				}
				if got := measure(t, path); got != computed.String() {
					t.Errorf("%d bytes: the kernel measures %s, computed %v", size, got, computed)
				}
				if got, err := fsverity.Measure(f); err != nil || got != computed {
					t.Errorf("%d bytes: Measure gives %v, %v; want %v", size, got, err, computed)
				}
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestEnableSaysWhyNot(t *testing.T) {
	path := workDir(t) + "/file"
	writeFile(t, path, []byte("content"))
	f := open(t, path)
	if _, err := fsverity.Measure(f); !errors.Is(err, fsverity.ErrNoVerity) {
		t.Errorf("measure a file without verity: %v, want ErrNoVerity", err)
	}
	writer, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := fsverity.Enable(f, fsverity.EnableOptions{}); !errors.Is(err, unix.ETXTBSY) {
		t.Errorf("enable while somebody can write: %v, want ETXTBSY", err)
	}
	writer.Close()
	if err := fsverity.Enable(f, fsverity.EnableOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := fsverity.Enable(f, fsverity.EnableOptions{}); !errors.Is(err, fsverity.ErrAlreadyEnabled) {
		t.Errorf("enable twice: %v, want ErrAlreadyEnabled", err)
	}
	if _, err := os.OpenFile(path, os.O_RDWR, 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("open for writing: %v, want EPERM", err)
	}
	if d, measured, err := fsverity.DigestFile(t.Context(), f, int64(len("content")), fsverity.FileOptions{}); err != nil || !measured || d.String() != measure(t, path) {
		t.Errorf("digest of a file with verity: %v, measured %v, %v", d, measured, err)
	}

	other := onTmpfs(t) + "/file"
	writeFile(t, other, []byte("content"))
	if err := fsverity.Enable(open(t, other), fsverity.EnableOptions{}); !errors.Is(err, fsverity.ErrNoVerity) {
		t.Errorf("enable where the filesystem cannot: %v, want ErrNoVerity", err)
	}
}
