//go:build vmguest

package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A sealed tree: its image has fs-verity enabled, and so has every object.
type sealed struct {
	dir, tree, store, image, mnt string
	digest                       string // of the image
}

// seal makes a tree of two files in the store and many small ones, an image of it and a store.
func seal(t *testing.T) sealed {
	t.Helper()
	dir := workDir(t)
	s := sealed{
		// The source is not on the device, so that a marker in it is there once, in the object.
		dir: dir, tree: t.TempDir(), store: dir + "/store", image: dir + "/image", mnt: dir + "/mnt",
	}
	writeFile(t, s.tree+"/etc/first", blocks(t.Name()+" first", 5))
	writeFile(t, s.tree+"/second", blocks(t.Name()+" second", 3))
	// As many as it takes for the inodes to fill more blocks than the superblock's.
	for i := range 100 {
		writeFile(t, fmt.Sprintf("%s/etc/a%03d", s.tree, i), []byte("a small file\n"))
	}
	if err := os.Mkdir(s.mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	s.digest = strings.TrimSpace(run(t, "mkcomposefs", "--print-digest", "--digest-store="+s.store, s.tree, s.image))
	enable(t, s.image)
	if got := measure(t, s.image); got != s.digest {
		t.Fatalf("the kernel measures the image as %q, mkcomposefs printed %q", got, s.digest)
	}
	return s
}

// object returns the path of the object with that content.
func (s sealed) object(t *testing.T, content []byte) string {
	t.Helper()
	for _, path := range objectsOf(t, s.store) {
		if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, content) {
			return path
		}
	}
	t.Fatalf("no object in %s has the content", s.store)
	return ""
}

// mount mounts the image, and unmounts it when the test ends.
func (s sealed) mount(t *testing.T, options string) {
	t.Helper()
	run(t, "mount.composefs", "-o", "basedir="+s.store+options, s.image, s.mnt)
	t.Cleanup(func() {
		run(t, "composefs", "umount", s.mnt)
		if entries, err := os.ReadDir(s.mnt); err != nil || len(entries) > 0 {
			t.Errorf("after umount %s has %d entries, %v", s.mnt, len(entries), err)
		}
	})
}

func TestStoreHasVerityEnabled(t *testing.T) {
	s := seal(t)
	paths := objectsOf(t, s.store)
	if len(paths) != 2 {
		t.Errorf("%d objects, want 2: %q", len(paths), paths)
	}
	for _, path := range paths {
		name, err := filepath.Rel(s.store, path)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := measure(t, path), strings.ReplaceAll(name, "/", ""); got != want {
			t.Errorf("the kernel measures object %s as %q", name, got)
		}
	}
}

func TestSealedTreeReadsAsItsSource(t *testing.T) {
	tests := []struct{ name, options string }{
		{"without verity", ""},
		{"with verity", ",verity"},
		{"with digest", ",digest=DIGEST"},
		{"with both", ",verity,digest=DIGEST"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := seal(t)
			s.mount(t, strings.ReplaceAll(test.options, "DIGEST", s.digest))
			dropCaches(t)
			for _, name := range []string{"etc/first", "etc/a042", "second"} {
				want, err := os.ReadFile(filepath.Join(s.tree, name))
				if err != nil {
					t.Fatal(err)
				}
				if got, err := os.ReadFile(filepath.Join(s.mnt, name)); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes, %v; want the source's %d", name, len(got), err, len(want))
				}
			}
		})
	}
}

func TestImageOfAnotherDigestIsRefused(t *testing.T) {
	s := seal(t)
	wrong := strings.Repeat("ab", 32)
	refused(t, "Image has wrong fs-verity", "mount.composefs", "-o", "basedir="+s.store+",digest="+wrong, s.image, s.mnt)
	notMounted(t, s.mnt)
}

func TestImageWithoutVerityIsRefusedWhereADigestIsExpected(t *testing.T) {
	s := seal(t)
	plain := s.copyImage(t, s.dir)
	refused(t, "Image has no fs-verity", "mount.composefs", "-o", "basedir="+s.store+",digest="+s.digest, plain, s.mnt)
	notMounted(t, s.mnt)
}

func TestObjectChangedOnTheDeviceIsNeverReadWrong(t *testing.T) {
	s := seal(t)
	s.mount(t, ",verity,digest="+s.digest)
	want, err := os.ReadFile(s.tree + "/etc/first")
	if err != nil {
		t.Fatal(err)
	}
	flipOnDevice(t, []byte(t.Name()+" first block 3:"))

	f, err := os.Open(s.mnt + "/etc/first")
	if err != nil {
		t.Fatalf("open: %v; only the changed block may fail", err)
	}
	defer f.Close()
	for i := range 5 {
		got := make([]byte, 4096)
		_, err := f.ReadAt(got, int64(i)*4096)
		switch {
		case i == 3 && !errors.Is(err, unix.EIO):
			t.Errorf("changed block: %v, want EIO", err)
		case i != 3 && err != nil:
			t.Errorf("block %d: %v", i, err)
		case i != 3 && !bytes.Equal(got, want[i*4096:][:4096]):
			t.Errorf("block %d has other bytes", i)
		}
	}
	if whole, err := io.ReadAll(f); !errors.Is(err, unix.EIO) || !bytes.HasPrefix(want, whole) {
		t.Errorf("reading from the start: %d bytes, %v; want right ones and then EIO", len(whole), err)
	}
}

func TestObjectWithoutVerityIsRefusedAtOpen(t *testing.T) {
	s := seal(t)
	content := blocks(t.Name()+" second", 3)
	object := s.object(t, content)
	replace(t, object, content)
	s.mount(t, ",verity,digest="+s.digest)
	if f, err := os.Open(s.mnt + "/second"); !errors.Is(err, unix.EIO) {
		t.Errorf("open: %v, want EIO", err)
		f.Close()
	}
	if _, err := os.ReadFile(s.mnt + "/etc/first"); err != nil {
		t.Errorf("a sound file beside it: %v", err)
	}
}

func TestObjectOfOtherContentIsRefusedAtOpen(t *testing.T) {
	s := seal(t)
	object := s.object(t, blocks(t.Name()+" second", 3))
	replace(t, object, blocks(t.Name()+" other", 3))
	enable(t, object)
	s.mount(t, ",verity,digest="+s.digest)
	if f, err := os.Open(s.mnt + "/second"); !errors.Is(err, unix.EIO) {
		t.Errorf("open: %v, want EIO", err)
		f.Close()
	}
}

func TestImageChangedOnTheDeviceIsNeverReadWrong(t *testing.T) {
	s := seal(t)
	// The image names the object by its path; in the store the two parts are apart.
	object := strings.TrimPrefix(s.object(t, blocks(t.Name()+" first", 5)), s.store)
	flipOnDevice(t, []byte(object[:40]))
	s.mount(t, ",verity,digest="+s.digest)
	if _, err := os.ReadFile(s.mnt + "/etc/first"); !errors.Is(err, unix.EIO) {
		t.Errorf("read of a file whose inode is changed: %v, want EIO", err)
	}
	if _, err := os.ReadFile(s.mnt + "/second"); err != nil {
		t.Errorf("a file in another block of the image: %v", err)
	}
}

// replace puts another file, without verity, in the place of an object.
func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, content)
}

// notMounted fails unless nothing is mounted on dir and nothing else was left behind.
func notMounted(t *testing.T, dir string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir) || strings.Contains(line, " - erofs ") {
			t.Errorf("left mounted: %s", line)
		}
	}
}
