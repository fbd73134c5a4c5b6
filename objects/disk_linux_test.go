package objects

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/testenv"
)

// disk mounts a new filesystem of size bytes for the test.
func disk(t testing.TB, kind string, size int64) string {
	t.Helper()
	testenv.Root(t)
	dir := t.TempDir()
	if kind == "tmpfs" {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
			t.Fatal(err)
		}
	} else {
		mkfs, err := exec.LookPath("mkfs." + kind)
		if err != nil {
			testenv.Missing(t, "mkfs."+kind, "the program mkfs."+kind+" is not installed")
		}
		image := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, size); err != nil {
			t.Fatal(err)
		}
		run(t, mkfs, "-q", image)
		run(t, "mount", "-o", "loop", image, dir)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func run(t testing.TB, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
}

// random returns data that filesystems cannot compress or make holes of.
func random(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.Read(data) // never fails
	return data
}

// TestFullDisk fills small filesystems: nothing partial may stay, under any name.
func TestFullDisk(t *testing.T) {
	for _, kind := range []string{"tmpfs", "ext4", "btrfs"} {
		for way, put := range puts {
			for _, size := range []int{30000, smallMax + 30000} {
				capacity := int64(8 << 20)
				if kind == "btrfs" {
					if capacity = 128 << 20; way != "file" || size < smallMax || testing.Short() {
						continue // it takes its time
					}
				}
				t.Run(fmt.Sprintf("%s, %s of %d", kind, way, size), func(t *testing.T) {
					fullDisk(t, disk(t, kind, capacity), put, size)
				})
			}
		}
	}
}

func fullDisk(t *testing.T, dir string, put func(*testing.T, *Dir, []byte) (Stored, error), size int) {
	d, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var failed error
	good := 0
	for failed == nil {
		if _, failed = put(t, d, random(size)); failed == nil {
			failed = d.Sync() // some notice only when they write
			good++
		}
	}
	if !errors.Is(failed, unix.ENOSPC) {
		t.Errorf("error is %v, want that the disk is full", failed)
	}
	for digest, err := range d.All() {
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Verify(t.Context(), digest); err != nil {
			t.Error(err)
		}
	}
	if left := files(t, d); len(left) != good {
		t.Errorf("%d objects were stored, these are there: %q", good, left)
	}
}

func TestReadOnlyStore(t *testing.T) {
	dir := disk(t, "tmpfs", 16<<20)
	d, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	data := random(5000)
	if _, err := d.PutBytes(t.Context(), data); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(dir, Options{Create: true}); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got, err := d.PutBytes(t.Context(), data); err != nil || !got.Existing {
		t.Errorf("an object that is there: %+v, %v", got, err)
	}
	if _, err := d.PutBytes(t.Context(), random(5000)); !errors.Is(err, unix.EROFS) {
		t.Errorf("a new object: error is %v", err)
	}
}

// TestSharedBlocks stores files of a filesystem that can share blocks, and of another one.
func TestSharedBlocks(t *testing.T) {
	dir := disk(t, "btrfs", 256<<20)
	d := openStoreAt(t, filepath.Join(dir, "store"), Options{Create: true})
	const size = 40<<20 + 5
	data := random(size)
	path := filepath.Join(dir, "source")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	unix.Sync()
	before := free(t, dir)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := d.Put(t.Context(), f, size)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	checkObject(t, d, got.Digest, data)
	if used := before - free(t, dir); used > size/2 {
		t.Errorf("an object of %d bytes takes %d more on the disk: the blocks are not shared", size, used)
	}

	data = random(2 * smallMax)
	if got, err = d.Put(t.Context(), tempFile(t, data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	checkObject(t, d, got.Digest, data)
	if d.noClone.Load() {
		t.Error("a file of another filesystem ends the sharing of blocks")
	}

	// What changes before it is cloned is found all the same.
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	empty := openStoreAt(t, filepath.Join(dir, "empty"), Options{Create: true})
	for _, off := range []int64{100, size} {
		changed := false
		empty.beforeStep = func(step string) error {
			if step != "clone" {
				return nil
			}
			changed = true
			_, err := w.WriteAt(random(10), off)
			return err
		}
		if _, err := empty.Put(t.Context(), f, size); !errors.Is(err, ErrChanged) || !changed {
			t.Errorf("a change at %d: error is %v", off, err)
		}
	}
	if left := files(t, empty); len(left) != 0 {
		t.Errorf("the store has %q", left)
	}
}

func free(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bfree) * int64(st.Bsize) //nolint:unconvert // not the same on all systems
}

func TestPutKeepsHoles(t *testing.T) {
	const size = 64 << 20
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("start"), 0); err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]int64{"data at the end": size - 3, "a hole at the end": size / 2} {
		if err := f.Truncate(5); err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("end"), end); err != nil {
			t.Fatal(err)
		}
		want, err := fsverity.File(t.Context(), f, size, fsverity.FileOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for way, put := range map[string]func(d *Dir) (Stored, error){
			"file": func(d *Dir) (Stored, error) { return d.Put(t.Context(), f, size) },
			"stream": func(d *Dir) (Stored, error) {
				if _, err := f.Seek(0, 0); err != nil {
					return Stored{}, err
				}
				return d.PutReader(t.Context(), f)
			},
		} {
			d := openStore(t, Options{})
			got, err := put(d)
			if err != nil || got.Digest != want {
				t.Fatalf("%s, %s: %+v, %v; want %v", name, way, got, err, want)
			}
			if err := d.Verify(t.Context(), got.Digest); err != nil {
				t.Error(err)
			}
			if used := diskUsage(t, filepath.Join(d.Path(), got.Digest.ObjectPath())); used > 1<<20 {
				t.Errorf("%s, %s: a file of holes takes %d bytes of the store", name, way, used)
			}
		}
	}
}

// diskUsage returns the bytes that a file takes on disk.
func diskUsage(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestUnreadableObjectIsReplaced(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root reads everything")
	}
	d := openStore(t, Options{})
	data := bytes.Repeat([]byte("data"), 1000)
	got, err := d.PutBytes(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(d.Path(), got.Digest.ObjectPath()), 0); err != nil {
		t.Fatal(err)
	}
	if got, err = d.PutBytes(t.Context(), data); err != nil || got.Existing {
		t.Errorf("%+v, %v; want a new object", got, err)
	}
	checkObject(t, d, got.Digest, data)
}
