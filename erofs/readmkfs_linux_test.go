package erofs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/tree"
	"golang.org/x/sys/unix"
)

// sourceTree makes a directory with everything that mkfs.erofs can be given without root, and
// devices as root.
func sourceTree(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	random := rand.NewChaCha8([32]byte{1})
	write := func(name string, size int) {
		t.Helper()
		data := make([]byte, size)
		_, _ = random.Read(data) // never fails
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int{0, 1, 63, 511, 512, 513, 1023, 1024, 2047, 2048, 2049, 4000, 4095, 4096, 4097, 8191, 8192, 8193, 65535, 65536, 70000, 300000} {
		write(fmt.Sprintf("sizes/%d", size), size)
	}
	for i := range 900 {
		write(fmt.Sprintf("many/%s%d", strings.Repeat("x", i%90), i), i%7)
	}
	write("deep/"+strings.Repeat("d/", 60)+"file", 10)
	write("long/"+strings.Repeat("n", 255), 5)
	for i := range 5 {
		write(fmt.Sprintf("nested/%d/%d/leaf", i, i), i)
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o1777); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 59, 60, 500, 1000, 3000, 4000} {
		if err := os.Symlink(strings.Repeat("t", n), filepath.Join(dir, fmt.Sprintf("link-%d", n))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "sizes/4097"), filepath.Join(dir, "hardlink")); err != nil {
		t.Fatal(err)
	}
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sparse.WriteAt([]byte("middle"), 200000); err != nil {
		t.Fatal(err)
	}
	if err := sparse.Truncate(500000); err != nil {
		t.Fatal(err)
	}
	sparse.Close()
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		for name, dev := range map[string]uint64{"char": unix.Mkdev(5, 300), "whiteout": 0} {
			if err := unix.Mknod(filepath.Join(dir, name), unix.S_IFCHR|0o600, int(dev)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Lchown(filepath.Join(dir, "sizes/0"), 70000, 70001); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range []string{"sizes/1", "sizes/4096", "many", "sizes/70000", "nested"} {
		path := filepath.Join(dir, name)
		set := func(name, value string) {
			if err := unix.Setxattr(path, name, []byte(value), 0); err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
				t.Fatal(err)
			}
		}
		set("user.same", "the same everywhere")
		set("user.empty", "")
		set("user.some.long.prefix.name", fmt.Sprint(i))
		set("user.some.long.prefix.", "the prefix alone")
		set("trusted.overlay.redirect", "kept as it is")
		set("security.test", strings.Repeat("v", 700*i))
	}
	old := time.Unix(1_000_000_000, 123456789)
	if err := os.Chtimes(filepath.Join(dir, "nested"), old, old); err != nil {
		t.Fatal(err)
	}
	return dir
}

// compareSource reads all of an image through the inode view and compares it with the
// directory that it was made of.
func compareSource(t testing.TB, img *erofs.Image, dir string, want mkfsCase) {
	t.Helper()
	root, err := img.Root()
	if err != nil {
		t.Fatal(err)
	}
	nids := map[uint64]uint64{} // source inode number by nid
	count := 0
	var walk func(in *erofs.Inode, path string)
	walk = func(in *erofs.Inode, path string) {
		count++
		compareInode(t, in, path, path == dir, want)
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			t.Fatal(err)
		}
		if ino, seen := nids[in.Nid]; seen && ino != st.Ino {
			t.Errorf("%s: its inode %d is also another file's", path, in.Nid)
		}
		nids[in.Nid] = st.Ino
		if !in.IsDir() {
			return
		}
		var got []string
		for e, err := range in.Dirents() {
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			found, err := in.Lookup(e.Name)
			if err != nil || found != e {
				t.Fatalf("%s: look up %q: got %v, %v, want %v", path, e.Name, found, err, e)
			}
			if e.Name == "." || e.Name == ".." {
				continue
			}
			got = append(got, e.Name)
			child, err := img.Inode(e.Nid)
			if err != nil {
				t.Fatalf("%s/%s: %v", path, e.Name, err)
			}
			walk(child, filepath.Join(path, e.Name))
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if slices.Sort(names); !slices.Equal(got, names) {
			t.Errorf("%s: got entries %q, want %q", path, got, names)
		}
		for _, absent := range []string{"", "!", "absent", "\xff", "..."} {
			if e, err := in.Lookup(absent); !errors.Is(err, tree.ErrNotFound) {
				t.Errorf("%s: look up %q: got %v, %v", path, absent, e, err)
			}
		}
	}
	walk(root, dir)
	if count < 900 {
		t.Errorf("only %d files were compared", count)
	}
}

func compareInode(t testing.TB, in *erofs.Inode, path string, isRoot bool, want mkfsCase) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	uid, gid := st.Uid, st.Gid
	if want.allRoot {
		uid, gid = 0, 0
	}
	if want.owner != [2]uint32{} {
		uid, gid = want.owner[0], want.owner[1]
	}
	if in.Mode != st.Mode || in.UID != uid || in.GID != gid {
		t.Errorf("%s: got mode %o uid %d gid %d, want %o %d %d", path, in.Mode, in.UID, in.GID, st.Mode, uid, gid)
	}
	mtime := tree.Timespec{Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec)}
	if want.mtime != 0 {
		mtime = tree.Timespec{Sec: want.mtime}
	}
	if !want.exactMtime {
		// mkfs.erofs takes the 32-byte inode, which has no nanoseconds, where it can.
		mtime.Nsec = in.Mtime.Nsec
	}
	if in.Mtime != mtime {
		t.Errorf("%s: got mtime %v, want %v", path, in.Mtime, mtime)
	}
	if in.Nlink != uint32(st.Nlink) {
		t.Errorf("%s: got nlink %d, want %d", path, in.Nlink, st.Nlink)
	}
	compareXattrs(t, in, path, isRoot)
	switch in.Type() {
	case tree.TypeRegular:
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(in.Data())
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: content differs from byte %d of %d", path, firstDifference(got, want), len(want))
		}
	case tree.TypeSymlink:
		want, err := os.Readlink(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := in.Readlink(); err != nil || got != want {
			t.Errorf("%s: got target %q, %v, want %q", path, got, err, want)
		}
	case tree.TypeChar, tree.TypeBlock:
		if uint64(in.Rdev) != st.Rdev {
			t.Errorf("%s: got rdev %#x, want %#x", path, in.Rdev, st.Rdev)
		}
	}
}

func compareXattrs(t testing.TB, in *erofs.Inode, path string, isRoot bool) {
	t.Helper()
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatal(err)
		}
		want[name] = string(value[:n])
	}
	got := map[string]string{}
	for x, err := range in.Xattrs() {
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		got[x.Name] = x.Value
	}
	if isRoot {
		delete(got, "trusted.overlay.origin") // mkfs.erofs adds it where there are whiteouts
	}
	if len(got) != len(want) {
		t.Errorf("%s: got %d attributes, want %d", path, len(got), len(want))
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s: attribute %s differs", path, name)
		}
	}
}

// mkfsCase is a way to make an image.
type mkfsCase struct {
	name       string
	args       []string
	allRoot    bool
	owner      [2]uint32 // of all files, if not 0
	mtime      int64     // of all files, if not 0
	exactMtime bool
	blobdev    bool
}

func mkfsCases() []mkfsCase {
	cases := []mkfsCase{
		{name: "plain"},
		{name: "fixed time", args: []string{"-T", "12345"}, mtime: 12345},
		{name: "build time only", args: []string{"-T", "12345", "--mkfs-time"}},
		{name: "preserved time", args: []string{"--preserve-mtime"}},
		{name: "ignored mtime", args: []string{"-T", "777", "--ignore-mtime"}, mtime: 777},
		{name: "all root", args: []string{"--all-root"}, allRoot: true},
		{name: "no inline data", args: []string{"-E^inline_data"}},
		{name: "extended inodes", args: []string{"-Eforce-inode-extended"}, exactMtime: true},
		{name: "no checksum", args: []string{"-Enosbcrc"}},
		{name: "chunks", args: []string{"--chunksize=4096"}},
		{name: "big chunks", args: []string{"--chunksize=65536"}},
		{name: "chunk indexes", args: []string{"--chunksize=4096", "-Eforce-chunk-indexes"}},
		{name: "block maps", args: []string{"--chunksize=8192", "-Eforce-inode-blockmap"}},
		{name: "xattr filter", args: []string{"-Exattr-name-filter"}},
		{name: "all xattrs shared", args: []string{"-x1"}},
		{name: "all xattrs inline", args: []string{"-x1000000"}},
		{name: "long prefix", args: []string{"--xattr-prefix=user.some.long.prefix."}},
		{name: "plain long prefix", args: []string{"--xattr-prefix=user.some.long.prefix.", "-Eplain-xattr-prefixes"}},
		{name: "two prefixes", args: []string{"--xattr-prefix=user.some.", "--xattr-prefix=trusted.overlay."}},
		{name: "padded root xattrs", args: []string{"--root-xattr-isize=400"}},
		{name: "48 bits", args: []string{"-E48bit"}},
		{name: "48 bits and chunks", args: []string{"-E48bit", "--chunksize=4096"}},
		{name: "48 bits and indexes", args: []string{"-E48bit", "--chunksize=4096", "-Eforce-chunk-indexes"}},
		{name: "dot omitted", args: []string{"-Edot-omitted"}},
		{name: "metadata zone", args: []string{"--MZ"}},
		{name: "metadata zone for inodes", args: []string{"--MZ=i"}},
		{name: "metadata zone for all", args: []string{"--MZ=id"}},
		{name: "metabox", args: []string{"-m4096"}},
		{name: "metabox and prefix", args: []string{"-m4096", "--xattr-prefix=user.some.long.prefix.", "-x1"}},
		{name: "metabox and chunks", args: []string{"-m4096", "--chunksize=4096", "-Eforce-chunk-indexes"}},
		{name: "data units", args: []string{"--dsunit=4"}},
		{name: "label and uuid", args: []string{"-Llabel", "-Uclear"}},
		{name: "blob device", args: []string{"--chunksize=4096"}, blobdev: true},
		{name: "blob device with big chunks", args: []string{"--chunksize=16384"}, blobdev: true},
		{name: "blob device, 48 bits", args: []string{"--chunksize=4096", "-E48bit"}, blobdev: true},
	}
	cases = append(cases,
		mkfsCase{name: "whiteouts kept", args: []string{"--ovlfs-strip=0"}},
		mkfsCase{name: "compact inodes", args: []string{"-Eforce-inode-compact", "-T777", "--force-uid=3", "--force-gid=4"}, mtime: 777, owner: [2]uint32{3, 4}})
	for _, bits := range []string{"512", "1024", "2048"} {
		cases = append(cases,
			mkfsCase{name: "blocks of " + bits, args: []string{"-b" + bits}},
			mkfsCase{name: "chunks in blocks of " + bits, args: []string{"-b" + bits, "--chunksize=8192"}},
			mkfsCase{name: "metabox in blocks of " + bits, args: []string{"-b" + bits, "-m4096"}},
		)
	}
	return cases
}

// mkfs makes an image of a directory, and opens it.
func mkfs(t testing.TB, source string, c mkfsCase) *erofs.Image {
	t.Helper()
	program := testenv.Peer(t, "mkfs.erofs")
	image := filepath.Join(t.TempDir(), "image")
	args := append([]string{"--quiet"}, c.args...)
	blob := filepath.Join(t.TempDir(), "blob")
	if c.blobdev {
		args = append(args, "--blobdev="+blob)
	}
	if out, err := exec.Command(program, append(args, image, source)...).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.erofs %q: %v\n%s", args, err, out)
	}
	img := openImageFile(t, image)
	if c.blobdev {
		b, err := os.Open(blob)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		if err := img.SetDevices(b); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

// Every uncompressed image of mkfs.erofs reads back as its source.
func TestReadsImagesOfMkfs(t *testing.T) {
	t.Parallel()
	testenv.Peer(t, "mkfs.erofs")
	source := sourceTree(t)
	for _, c := range mkfsCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			compareSource(t, mkfs(t, source, c), source, c)
		})
	}
}

func TestCheckFindsNothingInImagesOfMkfs(t *testing.T) {
	t.Parallel()
	testenv.Peer(t, "mkfs.erofs")
	source := sourceTree(t)
	for _, c := range mkfsCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, p := range problems(t, mkfs(t, source, c), erofs.CheckOptions{}) {
				t.Error(p)
			}
		})
	}
}

// An image of a tarball reads back as the tarball's source.
func TestReadsTarImagesOfMkfs(t *testing.T) {
	t.Parallel()
	program := testenv.Peer(t, "mkfs.erofs")
	source := sourceTree(t)
	ball := filepath.Join(t.TempDir(), "tar")
	tar := exec.Command("tar", "--format=pax", "--xattrs", "--xattrs-include=*", "--sort=name", "-cf", ball, "-C", source, ".")
	if out, err := tar.CombinedOutput(); err != nil {
		t.Skipf("no tar that keeps attributes: %v: %s", err, out)
	}
	image := filepath.Join(t.TempDir(), "image")
	if out, err := exec.Command(program, "--quiet", "--tar=f", image, ball).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	img := openImageFile(t, image)
	compareSource(t, img, source, mkfsCase{})
	for _, p := range problems(t, img, erofs.CheckOptions{}) {
		t.Error(p)
	}
}

func openImageFile(t testing.TB, name string) *erofs.Image {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	img, err := erofs.OpenFile(f)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// Without its extra device an image says what is missing, and all but file data can be read.
func TestExtraDevices(t *testing.T) {
	t.Parallel()
	program := testenv.Peer(t, "mkfs.erofs")
	source := sourceTree(t)
	dir := t.TempDir()
	image, blob := filepath.Join(dir, "image"), filepath.Join(dir, "blob")
	args := []string{"--quiet", "--chunksize=4096", "--blobdev=" + blob, image, source}
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	img := openImageFile(t, image)
	view := img.FS(erofs.FSOptions{})
	if _, err := view.ReadDir("sizes"); err != nil {
		t.Error(err)
	}
	_, err := view.ReadFile("sizes/300000")
	checkUnsupported(t, err, "EROFS_FEATURE_INCOMPAT_DEVICE_TABLE")
	if err := img.SetDevices(); err == nil {
		t.Error("no error of no devices")
	}
	if err := img.SetDevices(bytes.NewReader(nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := view.ReadFile("sizes/300000"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v from an empty device, want unexpected EOF", err)
	}
}

// mkfs.erofs takes whiteouts out on request, and marks what they were in.
func TestReadsStrippedImagesOfMkfs(t *testing.T) {
	t.Parallel()
	testenv.Root(t)
	source := sourceTree(t)
	img := mkfs(t, source, mkfsCase{args: []string{"--ovlfs-strip=1"}})
	view := img.FS(erofs.FSOptions{})
	if _, err := view.Stat("whiteout"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want the whiteout gone", err)
	}
	if _, err := view.Stat("char"); err != nil {
		t.Error(err)
	}
	for _, p := range problems(t, img, erofs.CheckOptions{}) {
		t.Error(p)
	}
}
