package tree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/tree"
)

func TestScanReadsEachKindOfFile(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("t", tree.MaxTarget)
	odd := "\xff\xfe " + strings.Repeat("n", tree.MaxName-4) + "\n"
	data := bytes.Repeat([]byte("data"), 30_000)
	write(t, dir+"/empty", nil)
	write(t, dir+"/inline", bytes.Repeat([]byte{0, 'x'}, 32))
	write(t, dir+"/external", bytes.Repeat([]byte("x"), 65))
	write(t, dir+"/large", data)
	write(t, dir+"/sub/"+odd, nil)
	must(t, os.Symlink(long, dir+"/symlink"))
	must(t, unix.Mkfifo(dir+"/fifo", 0o600))
	must(t, unix.Mknod(dir+"/socket", unix.S_IFSOCK|0o777, 0))
	must(t, os.Chmod(dir+"/inline", 0o4711|os.ModeSetuid))
	must(t, os.Chtimes(dir+"/inline", timeOf(-1, 5), timeOf(-1, 5)))

	root := scan(t, dir, tree.ScanOptions{})
	if want := []string{
		"/", "/empty", "/external", "/fifo", "/inline", "/large", "/socket", "/sub", "/sub/" + odd, "/symlink",
	}; !slices.Equal(names(root), want) {
		t.Errorf("names %q, want %q", names(root), want)
	}
	type file struct {
		Type    uint32
		Size    uint64
		Content string
		Target  string
		Digest  string
	}
	for name, want := range map[string]file{
		"empty":    {Type: tree.TypeRegular},
		"inline":   {Type: tree.TypeRegular, Size: 64, Content: strings.Repeat("\x00x", 32)},
		"external": {Type: tree.TypeRegular, Size: 65, Digest: digestOf(t, bytes.Repeat([]byte("x"), 65)).String()},
		"large":    {Type: tree.TypeRegular, Size: 120_000, Digest: digestOf(t, data).String()},
		"symlink":  {Type: tree.TypeSymlink, Size: tree.MaxTarget, Target: long},
		"fifo":     {Type: tree.TypeFIFO},
		"socket":   {Type: tree.TypeSocket},
		"sub":      {Type: tree.TypeDir},
	} {
		n := root.Lookup(name)
		got := file{n.Type(), n.Size, string(n.Content), n.Target, n.Digest.String()}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if n.Nlink != 1 || n.UID != uint32(os.Getuid()) {
			t.Errorf("%s has link count %d and owner %d", name, n.Nlink, n.UID)
		}
	}
	n := root.Lookup("inline")
	if want := (tree.Timespec{Sec: -1, Nsec: 5}); n.Perm() != 0o4711 || n.Mtime != want {
		t.Errorf("mode %o, mtime %v", n.Mode, n.Mtime)
	}
}

func TestScanReadsWhatOnlyRootCanMake(t *testing.T) {
	testenv.Root(t)
	dir := t.TempDir()
	must(t, unix.Mknod(dir+"/char", unix.S_IFCHR|0o640, int(unix.Mkdev(0x123, 0x45678))))
	must(t, unix.Mknod(dir+"/block", unix.S_IFBLK|0o640, int(unix.Mkdev(8, 1))))
	must(t, unix.Mknod(dir+"/whiteout", unix.S_IFCHR, 0))
	must(t, os.Symlink("x", dir+"/symlink"))
	write(t, dir+"/file", []byte("content that is too long to be inline, because it has some more bytes"))
	write(t, dir+"/empty", nil)
	acl := "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\xe8\x03\x00\x00" +
		"\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff"
	big := strings.Repeat("\xff\x00", 1500)
	for _, x := range []struct{ name, key, value string }{
		{"file", "system.posix_acl_access", acl},
		{"file", "user.big", big},
		{"empty", "user.empty", ""},
		{"empty", "trusted.overlay.opaque", "y"},
		{"symlink", "trusted.of.link", "\x00v"},
		{"char", "trusted.of.device", "v"},
		{"whiteout", "security.x", "label"},
		{".", "trusted.of.root", "v"},
	} {
		must(t, unix.Lsetxattr(dir+"/"+x.name, x.key, []byte(x.value), 0))
	}
	must(t, os.Lchown(dir+"/symlink", 1<<30, 65536))

	root := scan(t, dir, tree.ScanOptions{})
	if n := root.Lookup("char"); n.Mode != tree.TypeChar|0o640 || n.Rdev != 0x45612378 {
		t.Errorf("char device: mode %o rdev %x", n.Mode, n.Rdev)
	}
	if n := root.Lookup("block"); n.Mode != tree.TypeBlock|0o640 || n.Rdev != 0x801 {
		t.Errorf("block device: mode %o rdev %x", n.Mode, n.Rdev)
	}
	if n := root.Lookup("whiteout"); !n.IsWhiteout() {
		t.Errorf("whiteout: mode %o rdev %x", n.Mode, n.Rdev)
	}
	if n := root.Lookup("symlink"); n.UID != 1<<30 || n.GID != 65536 {
		t.Errorf("symlink: owner %d:%d", n.UID, n.GID)
	}
	check := func(opts tree.ScanOptions, want map[string][]tree.Xattr) {
		t.Helper()
		got := map[string][]tree.Xattr{}
		for path, e := range tree.Walk(scan(t, dir, opts)) {
			if len(e.Inode.Xattrs) > 0 {
				got[string(path)] = e.Inode.Xattrs
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%+v: %s", opts, diff)
		}
	}
	check(tree.ScanOptions{}, map[string][]tree.Xattr{
		"/":         {{Name: "trusted.of.root", Value: "v"}},
		"/char":     {{Name: "trusted.of.device", Value: "v"}},
		"/empty":    {{Name: "trusted.overlay.opaque", Value: "y"}, {Name: "user.empty"}},
		"/file":     {{Name: "system.posix_acl_access", Value: acl}, {Name: "user.big", Value: big}},
		"/symlink":  {{Name: "trusted.of.link", Value: "\x00v"}},
		"/whiteout": {{Name: "security.x", Value: "label"}},
	})
	check(tree.ScanOptions{UserXattrs: true}, map[string][]tree.Xattr{
		"/empty": {{Name: "user.empty"}},
		"/file":  {{Name: "user.big", Value: big}},
	})
	check(tree.ScanOptions{SkipXattrs: true}, map[string][]tree.Xattr{})
	want := []string{"/", "/empty", "/file", "/symlink"}
	if got := names(scan(t, dir, tree.ScanOptions{SkipDevices: true})); !slices.Equal(got, want) {
		t.Errorf("without devices: %q", got)
	}
}

func TestScanRefusesMoreAttributesThanAnImageHolds(t *testing.T) {
	testenv.Root(t)
	dir, err := os.MkdirTemp("/dev/shm", "scan-test-") // others allow less anyway
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(dir)
	write(t, dir+"/file", nil)
	half := make([]byte, tree.MaxXattrCost/2)
	if err := unix.Lsetxattr(dir+"/file", "trusted.a", half, 0); err != nil {
		t.Skip("no large attributes here: ", err)
	}
	if got := scan(t, dir, tree.ScanOptions{}).Lookup("file").XattrCost(); got < len(half) {
		t.Errorf("attributes cost %d", got)
	}
	must(t, unix.Lsetxattr(dir+"/file", "trusted.b", half, 0))
	_, err = tryScan(t, dir, tree.ScanOptions{})
	if !errors.Is(err, tree.ErrXattrs) || !strings.Contains(err.Error(), dir+"/file: ") {
		t.Errorf("got %v", err)
	}
}

func TestScanTimes(t *testing.T) {
	dir := t.TempDir()
	for i, sec := range []int64{50, 100, 150} {
		name := fmt.Sprintf("%s/%d", dir, i)
		write(t, name, nil)
		must(t, os.Chtimes(name, timeOf(sec, 7), timeOf(sec, 7)))
	}
	for _, test := range []struct {
		opts tree.ScanOptions
		want []tree.Timespec
	}{
		{tree.ScanOptions{}, []tree.Timespec{{Sec: 50, Nsec: 7}, {Sec: 100, Nsec: 7}, {Sec: 150, Nsec: 7}}},
		{tree.ScanOptions{UseEpoch: true}, []tree.Timespec{{}, {}, {}}},
		{tree.ScanOptions{MtimeClamp: &tree.Timespec{Sec: 100}}, []tree.Timespec{{Sec: 50, Nsec: 7}, {Sec: 100}, {Sec: 100}}},
	} {
		root := scan(t, dir, test.opts)
		for i, want := range test.want {
			if got := root.Lookup(fmt.Sprint(i)).Mtime; got != want {
				t.Errorf("%+v: file %d has %v, want %v", test.opts, i, got, want)
			}
		}
		if test.opts.UseEpoch && root.Mtime != (tree.Timespec{}) {
			t.Errorf("the root has %v", root.Mtime)
		}
	}
}

func TestScanInlineLimit(t *testing.T) {
	dir := t.TempDir()
	for _, size := range []int{1, 64, 65, 5000, 5001} {
		write(t, fmt.Sprintf("%s/%d", dir, size), make([]byte, size))
	}
	for _, test := range []struct {
		limit  int
		inline []string
	}{
		{0, []string{"1", "64"}},
		{-1, nil},
		{1, []string{"1"}},
		{5000, []string{"1", "5000", "64", "65"}},
	} {
		var inline []string
		for _, e := range scan(t, dir, tree.ScanOptions{InlineMax: test.limit}).Children {
			if e.Inode.IsExternal() == e.Inode.Digest.IsZero() {
				t.Errorf("limit %d: %s has both a digest and content, or none", test.limit, e.Name)
			}
			if !e.Inode.IsExternal() {
				inline = append(inline, e.Name)
			}
		}
		if !slices.Equal(inline, test.inline) {
			t.Errorf("limit %d: inline are %q, want %q", test.limit, inline, test.inline)
		}
	}
}

// Files are read in one piece, by one goroutine or by several, depending on their size.
func TestScanDigestsOfEachSize(t *testing.T) {
	dir := t.TempDir()
	data := make([]byte, 16<<20+1)
	for i := range data {
		data[i] = byte(i >> 10)
	}
	sizes := []int{65, 4095, 4096, 4097, 128<<10 - 1, 128 << 10, 128<<10 + 1, 1 << 20, 16<<20 - 1, 16 << 20, 16<<20 + 1}
	for _, size := range sizes {
		write(t, fmt.Sprintf("%s/%d", dir, size), data[:size])
	}
	for _, alg := range []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512} {
		root := scan(t, dir, tree.ScanOptions{Algorithm: alg, Jobs: 3})
		for _, size := range sizes {
			want, err := fsverity.Sum(alg, data[:size])
			must(t, err)
			if got := root.Lookup(fmt.Sprint(size)).Digest; got != want {
				t.Errorf("%v of %d bytes: %v, want %v", alg, size, got, want)
			}
		}
	}
}

func TestScanErrorsBeginWithTheNameOfTheDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/sub/file", make([]byte, 100))
	sink := memorySink{fail: unix.EIO}
	for top, want := range map[string]string{dir: dir + "/sub/file: ", dir + "/": dir + "/sub/file: ", dir + "/sub": dir + "/sub/file: "} {
		_, err := tryScan(t, top, tree.ScanOptions{Sink: &sink})
		if err == nil || !strings.HasPrefix(err.Error(), "read "+want) {
			t.Errorf("%s: got %v", top, err)
		}
	}
}

func TestScanHardlinks(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/z/file", make([]byte, 100))
	write(t, dir+"/a/other", nil)
	for _, name := range []string{"/a/link", "/y", "/a.b"} {
		must(t, os.Link(dir+"/z/file", dir+name))
	}
	must(t, os.Link(dir+"/z/file", t.TempDir()+"/outside"))
	root := scan(t, dir, tree.ScanOptions{Hardlinks: true, Jobs: 3})
	var own []string
	file := root.Lookup("y")
	for path, e := range tree.Walk(root) {
		if e.Inode == file && !e.Link {
			own = append(own, string(path))
		}
	}
	if !slices.Equal(own, []string{"/a/link"}) {
		t.Errorf("the inode's own place is %q", own)
	}
	if file.Nlink != 4 {
		t.Errorf("link count %d, the tree has 4 names", file.Nlink)
	}
	if file.Digest != digestOf(t, make([]byte, 100)) {
		t.Errorf("digest %v", file.Digest)
	}
	apart := scan(t, dir, tree.ScanOptions{})
	if a, b := apart.Lookup("y"), apart.Lookup("a.b"); a == b || a.Nlink != 1 {
		t.Errorf("found hard links that were not asked for")
	}
}

func TestScanExcludes(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"etc/a.o", "etc/b", "usr/lib/a.o", "usr/lib/keep.o", "usr/tmp/x", "tmp/x", "tmp/y"} {
		write(t, dir+"/"+name, nil)
	}
	got := names(scan(t, dir, tree.ScanOptions{Exclude: []string{"*.o", "!keep.o", "/tmp/"}}))
	want := []string{"/", "/etc", "/etc/b", "/usr", "/usr/lib", "/usr/lib/keep.o", "/usr/tmp", "/usr/tmp/x"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := tryScan(t, dir, tree.ScanOptions{Exclude: []string{"a//b"}}); !errors.Is(err, tree.ErrPattern) {
		t.Errorf("bad pattern gives %v", err)
	}
}

func TestScanSkipsFilesByIdentity(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/out.img", make([]byte, 1000))
	write(t, dir+"/store/ab/cd", nil)
	write(t, dir+"/file", nil)
	var skip []tree.FileID
	for _, name := range []string{"/out.img", "/store"} {
		f, err := os.Open(dir + name)
		must(t, err)
		id, err := tree.FileIDOf(f)
		must(t, err)
		f.Close()
		skip = append(skip, id)
	}
	if got := names(scan(t, dir, tree.ScanOptions{Skip: skip})); !slices.Equal(got, []string{"/", "/file"}) {
		t.Errorf("names %q", got)
	}
}

// memorySink keeps what it gets.
type memorySink struct {
	put  atomic.Int64
	fail error
}

func (s *memorySink) Put(_ context.Context, f *os.File, size int64) (fsverity.Digest, error) {
	s.put.Add(1)
	if s.fail != nil {
		return fsverity.Digest{}, s.fail
	}
	data := make([]byte, size)
	if _, err := f.Read(data); err != nil {
		return fsverity.Digest{}, err
	}
	return fsverity.Sum(fsverity.SHA512, data)
}

type counter struct{ files, bytes atomic.Int64 }

func (c *counter) Add(files int, bytes int64) {
	c.files.Add(int64(files))
	c.bytes.Add(bytes)
}

func TestScanStoresExternalFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a", make([]byte, 100))
	write(t, dir+"/b", make([]byte, 300_000))
	write(t, dir+"/inline", make([]byte, 10))
	write(t, dir+"/empty", nil)
	var sink memorySink
	var progress counter
	root := scan(t, dir, tree.ScanOptions{Sink: &sink, Progress: &progress})
	if sink.put.Load() != 2 {
		t.Errorf("%d files were stored", sink.put.Load())
	}
	want, err := fsverity.Sum(fsverity.SHA512, make([]byte, 300_000))
	must(t, err)
	if got := root.Lookup("b").Digest; got != want {
		t.Errorf("digest %v", got)
	}
	if f, b := progress.files.Load(), progress.bytes.Load(); f != 5 || b != 300_110 {
		t.Errorf("progress: %d files, %d bytes", f, b)
	}
	sink.fail = unix.ENOSPC
	if _, err := tryScan(t, dir, tree.ScanOptions{Sink: &sink}); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), dir+"/") {
		t.Errorf("full disk gives %v", err)
	}
}

func TestScanRefusesContradictions(t *testing.T) {
	for _, opts := range []tree.ScanOptions{
		{SkipXattrs: true, UserXattrs: true},
		{InlineMax: tree.MaxInline + 1},
	} {
		if _, err := tryScan(t, t.TempDir(), opts); !errors.Is(err, tree.ErrOptions) {
			t.Errorf("%+v gives %v", opts, err)
		}
	}
	opts := tree.ScanOptions{Algorithm: fsverity.Algorithm{Hash: 9, BlockBits: 12}}
	if _, err := tryScan(t, t.TempDir(), opts); !errors.Is(err, fsverity.ErrAlgorithm) {
		t.Errorf("unknown algorithm gives %v", err)
	}
}

func TestScanOfAFileFails(t *testing.T) {
	path := t.TempDir() + "/file"
	write(t, path, nil)
	if _, err := tryScan(t, path, tree.ScanOptions{}); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("got %v", err)
	}
}

func TestScanEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a", nil)
	f, err := os.Open(dir)
	must(t, err)
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tree.Scan(ctx, f, tree.ScanOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
