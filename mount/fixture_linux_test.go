package mount

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/testenv"
)

// A fixture is a source tree, its image and its objects, made by the reference implementation.
type fixture struct {
	dir    string
	source string
	image  string
	store  string
}

// workDir is a directory whose name tells loop devices of these tests from others.
func workDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "composefs-mount-test-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// newFixture makes an image of the tree that fill makes.
func newFixture(t testing.TB, fill func(t testing.TB, dir string)) fixture {
	t.Helper()
	testenv.Root(t)
	dir := workDir(t)
	f := fixture{dir: dir, source: dir + "/source", image: dir + "/image.cfs", store: dir + "/objects"}
	mkdir(t, f.source, f.store)
	fill(t, f.source)
	f.build(t)
	return f
}

func (f fixture) build(t testing.TB) {
	t.Helper()
	cmd := exec.Command(testenv.Peer(t, "mkcomposefs"), "--digest-store="+f.store, f.source, f.image)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mkcomposefs: %v\n%s", err, out)
	}
}

// options opens everything for a mount; the files are closed with the test.
func (f fixture) options(t testing.TB) Options {
	t.Helper()
	return Options{Image: open(t, f.image, os.O_RDONLY), Objects: []*os.File{open(t, f.store, unix.O_PATH)}}
}

func open(t testing.TB, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func mkdir(t testing.TB, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// mountHere mounts on a new directory and unmounts when the test ends.
func mountHere(t testing.TB, opts Options) (target string, state State) {
	t.Helper()
	target = workDir(t)
	state, err := At(t.Context(), opts, target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Unmount(target, UnmountOptions{}); err != nil {
			t.Error(err)
		}
	})
	return target, state
}

// tmpfs mounts a tmpfs on a new directory.
func tmpfs(t testing.TB) string {
	t.Helper()
	dir := workDir(t)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// everything fills a directory with one of everything an image can hold.
func everything(t testing.TB, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name string, size int, mode os.FileMode) {
		t.Helper()
		write(t, filepath.Join(dir, name), pattern(size))
		must(os.Chmod(filepath.Join(dir, name), mode))
	}
	mkdir(t, dir+"/sub/deep/er", dir+"/empty")
	for _, size := range []int{0, 1, 63, 64, 65, 4095, 4096, 4097, 100_000, 1 << 20} {
		write(fmt.Sprintf("sub/file-%d", size), size, 0o644)
	}
	write("setuid", 5000, 0o755|fs.ModeSetuid)
	write("private", 5001, 0o600)
	must(os.Lchown(dir+"/private", 1234, 70000))
	must(os.Link(dir+"/sub/file-100000", dir+"/hardlink"))
	must(os.Symlink("sub/file-1", dir+"/link"))
	must(os.Symlink(strings.Repeat("x/", 2000), dir+"/longlink"))
	write(strings.Repeat("n", 255), 300, 0o644)
	must(unix.Mkfifo(dir+"/fifo", 0o640))
	must(unix.Mknod(dir+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(unix.Mknod(dir+"/disk", unix.S_IFBLK|0o660, int(unix.Mkdev(259, 300))))
	sparse, err := os.Create(dir + "/sparse")
	must(err)
	must(sparse.Truncate(64 << 20))
	must(sparse.Close())
	must(unix.Lsetxattr(dir+"/private", "user.one", []byte("value"), 0))
	must(unix.Lsetxattr(dir+"/private", "user.empty", nil, 0))
	must(unix.Lsetxattr(dir+"/setuid", "security.capability",
		[]byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	must(unix.Lsetxattr(dir+"/sub", "trusted.t", bytes.Repeat([]byte("long"), 500), 0))
	// An access ACL: user::rw-, user:1:r--, group::r--, mask::r--, other::r--.
	must(unix.Lsetxattr(dir+"/sub/file-4096", "system.posix_acl_access",
		[]byte("\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\x01\x00\x00\x00"+
			"\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff"), 0))
	for i := range 500 {
		write(fmt.Sprintf("sub/deep/er/%04d", i), i%100, 0o640)
	}
}

// pattern is content that differs from block to block and from size to size.
func pattern(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i>>12) ^ byte(i*7) ^ byte(size)
	}
	return b
}

// file is what a test compares of one.
type file struct {
	Mode     uint32
	UID, GID uint32
	Rdev     uint64
	Size     int64
	Mtime    unix.Timespec
	Target   string
	Xattrs   map[string]string
	content  string // path to read, not compared
}

// tree reads everything below a directory but the content of files.
func tree(t testing.TB, root string) map[string]file {
	t.Helper()
	files := map[string]file{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("%s: no stat", path)
		}
		f := file{
			Mode: st.Mode, UID: st.Uid, GID: st.Gid, Rdev: st.Rdev,
			Mtime: unix.Timespec{Sec: st.Mtim.Sec, Nsec: st.Mtim.Nsec}, Xattrs: xattrs(t, path),
		}
		switch {
		case info.Mode().IsRegular():
			f.Size, f.content = st.Size, path
		case info.Mode().Type() == fs.ModeSymlink:
			if f.Target, err = os.Readlink(path); err != nil {
				return err
			}
		}
		rel, err := filepath.Rel(root, path)
		files[rel] = f
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func xattrs(t testing.TB, path string) map[string]string {
	t.Helper()
	buf := make([]byte, 65536)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		t.Fatalf("list xattrs of %s: %v", path, err)
	}
	all := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 65536)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatalf("read xattr %s of %s: %v", name, path, err)
		}
		all[name] = string(value[:n])
	}
	return all
}

// same compares two trees: every name, every attribute, every byte.
func same(t testing.TB, want, got string) {
	t.Helper()
	compare(t, tree(t, want), tree(t, got))
}

// sameBelow is same but for the root directory itself: with an upper directory that is the
// upper directory's.
func sameBelow(t testing.TB, want, got string) {
	t.Helper()
	wanted, gotten := tree(t, want), tree(t, got)
	delete(wanted, ".")
	delete(gotten, ".")
	compare(t, wanted, gotten)
}

func compare(t testing.TB, wanted, gotten map[string]file) {
	t.Helper()
	notCompared := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".content" }, cmp.Ignore())
	if diff := cmp.Diff(wanted, gotten, cmp.AllowUnexported(file{}), notCompared); diff != "" {
		t.Fatalf("mount differs from its source (-source +mount):\n%s", diff)
	}
	for name, f := range wanted {
		if f.content != "" && !sameContent(t, f.content, gotten[name].content) {
			t.Errorf("%s has other content", name)
		}
	}
}

func sameContent(t testing.TB, a, b string) bool {
	t.Helper()
	fa, fb := open(t, a, os.O_RDONLY), open(t, b, os.O_RDONLY)
	defer fa.Close()
	defer fb.Close()
	bufA, bufB := make([]byte, 1<<16), make([]byte, 1<<16)
	for {
		na, errA := io.ReadFull(fa, bufA)
		nb, errB := io.ReadFull(fb, bufB)
		if !bytes.Equal(bufA[:na], bufB[:nb]) || !errors.Is(errA, errB) {
			return false
		}
		if errA != nil {
			return errors.Is(errA, io.EOF) || errors.Is(errA, io.ErrUnexpectedEOF)
		}
	}
}
