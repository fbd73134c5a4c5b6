//go:build vmguest

// Package guest holds the tests that run inside the virtual machine which package vm boots: the
// kernel has fs-verity, /vm is an ext4 with the verity feature on /dev/vda, and the program
// composefs is in /vm/bin.
package guest

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// workDir makes a directory for a test on the filesystem that has verity.
func workDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/vm", "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// run executes our program under the name argv[0] and returns what it wrote to stdout.
func run(t *testing.T, argv ...string) string {
	t.Helper()
	stdout, stderr, err := try(argv...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, stderr)
	}
	return stdout
}

// refused fails the test unless the command fails with a message that has the words.
func refused(t *testing.T, words string, argv ...string) {
	t.Helper()
	_, stderr, err := try(argv...)
	if err == nil {
		t.Fatalf("%s: succeeded, want %q", strings.Join(argv, " "), words)
	}
	if !strings.Contains(stderr, words) {
		t.Errorf("%s: message %q, want %q in it", strings.Join(argv, " "), stderr, words)
	}
}

func try(argv ...string) (stdout, stderr string, err error) {
	cmd := exec.Command("/vm/bin/composefs", argv[1:]...)
	cmd.Args[0] = argv[0]
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// measure asks the kernel for a file's fs-verity digest, without any code of ours. It is empty if
// the file has no verity.
func measure(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// struct fsverity_digest of include/uapi/linux/fsverity.h, with room for SHA-512
	var digest struct {
		algorithm, size uint16
		sum             [64]byte
	}
	digest.size = uint16(len(digest.sum))
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.FS_IOC_MEASURE_VERITY, uintptr(unsafe.Pointer(&digest)))
	switch errno {
	case 0:
		return hex.EncodeToString(digest.sum[:digest.size])
	case unix.ENODATA:
		return ""
	}
	t.Fatalf("measure %s: %v", path, errno)
	return ""
}

// enable turns on fs-verity with SHA-256 and 4 KiB blocks, without any code of ours.
func enable(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	arg := unix.FsverityEnableArg{Version: 1, Hash_algorithm: unix.FS_VERITY_HASH_ALG_SHA256, Block_size: 4096}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.FS_IOC_ENABLE_VERITY, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		t.Fatalf("enable verity of %s: %v", path, errno)
	}
}

// writeFile makes a file and the directories above it.
func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// blocks returns n blocks of 4 KiB, each with the marker and its number at its begin.
func blocks(marker string, n int) []byte {
	content := make([]byte, n*4096)
	for i := range n {
		copy(content[i*4096:], fmt.Sprintf("%s block %d:", marker, i))
	}
	return content
}

// objectsOf returns the paths of all objects of a store.
func objectsOf(t *testing.T, store string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(store, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func sync(t *testing.T) {
	t.Helper()
	dir, err := os.Open("/vm")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		t.Fatal(err)
	}
}
