package tree_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/tree"
)

// mounted returns the root directory of a new filesystem that mkfs made.
func mounted(t *testing.T, mkfs string, args ...string) string {
	t.Helper()
	testenv.Root(t)
	path, err := exec.LookPath(mkfs)
	if err != nil {
		testenv.Missing(t, "mkfs", mkfs+" is not installed")
	}
	image, dir := t.TempDir()+"/image", t.TempDir()
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 256<<20))
	if out, err := exec.Command(path, append(args, "-q", image)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", mkfs, err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a loop device: %s", out)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	return dir
}

func TestExtractSharesDataWithTheObjects(t *testing.T) {
	dir := mounted(t, "mkfs.btrfs")
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	write(t, dir+"/object", data)
	must(t, os.Mkdir(dir+"/tree", 0o755))
	n := external(t, data)
	must(t, extract(t, oneFile(t, n), dir+"/tree", openPath(dir+"/object"), asUser))
	got, err := os.ReadFile(dir + "/tree/dir/file")
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Error("other content")
	}
	if object, file := firstExtent(t, dir+"/object"), firstExtent(t, dir+"/tree/dir/file"); object != file {
		t.Errorf("the object is at %#x on disk, the file at %#x", object, file)
	}

	// Shared data is verified like copied data.
	data[1000]++
	write(t, dir+"/object", data)
	must(t, os.Mkdir(dir+"/wrong", 0o755))
	err = extract(t, oneFile(t, n), dir+"/wrong", openPath(dir+"/object"), asUser)
	if !errors.Is(err, tree.ErrDigestMismatch) {
		t.Errorf("changed object gives %v", err)
	}
}

// fiemap is struct fiemap of include/uapi/linux/fiemap.h with room for one extent.
type fiemap struct {
	start, length                   uint64
	flags, mapped, count, reserved  uint32
	logical, physical, extentLength uint64
	_                               [2]uint64
	extentFlags                     uint32
	_                               [3]uint32
}

// Some filesystems do not tell types in their directories.
func TestScanAsksForTypesThatDirectoriesDoNotTell(t *testing.T) {
	dir := mounted(t, "mkfs.ext4", "-O", "^filetype") + "/tree"
	write(t, dir+"/sub/file", make([]byte, 100))
	write(t, dir+"/tmp/x", nil)
	write(t, dir+"/sub/tmp", nil)
	must(t, os.Symlink("sub", dir+"/symlink"))
	must(t, unix.Mknod(dir+"/device", unix.S_IFCHR|0o600, 0))
	got := names(scan(t, dir, tree.ScanOptions{SkipDevices: true, Exclude: []string{"tmp/"}}))
	if want := []string{"/", "/sub", "/sub/file", "/sub/tmp", "/symlink"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	if n := scan(t, dir, tree.ScanOptions{}).Lookup("device"); n == nil || !n.IsWhiteout() {
		t.Errorf("device is %+v", n)
	}
}

// firstExtent returns where on the disk a file begins.
func firstExtent(t *testing.T, path string) uint64 {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	must(t, f.Sync())
	m := fiemap{length: 1 << 40, count: 1, flags: 1} // FIEMAP_FLAG_SYNC
	const fsIocFiemap = 0xc020660b
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsIocFiemap, uintptr(unsafe.Pointer(&m)))
	if errno != 0 || m.mapped != 1 {
		t.Fatalf("map of %s: %v, %d extents", path, errno, m.mapped)
	}
	return m.physical
}
