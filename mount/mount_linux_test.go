package mount

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/testenv"
)

// allWays are the ways of newer and older kernels to the same mount.
var allWays = []struct {
	name string
	ways ways
}{
	{"newest", ways{}},
	{"loop device", ways{noFileBacked: true}},
	{"loop device in two steps", ways{noFileBacked: true, noConfigure: true}},
	{"layers by name", ways{noLayerFD: true}},
	{"layers by name on a loop device", ways{noLayerFD: true, noFileBacked: true}},
	{"layers in one string", ways{noLayerFD: true, noPlus: true}},
	{"objects as ordinary layer", ways{noLayerFD: true, noPlus: true, noDataOnly: true}},
	{"mount(2)", ways{noMountAPI: true}},
	{"mount(2) on a loop device", ways{noMountAPI: true, noFileBacked: true}},
	{"mount(2) with objects as ordinary layer", ways{noMountAPI: true, noDataOnly: true}},
}

func TestMountShowsTheSource(t *testing.T) {
	f := newFixture(t, everything)
	noFileBacked := Probe(open(t, f.dir, unix.O_PATH)).Get(CapErofsFile).Answer == No
	for _, way := range allWays {
		t.Run(way.name, func(t *testing.T) {
			opts := f.options(t)
			opts.ways = way.ways
			target, state := mountHere(t, opts)
			if got := state.LoopDevice != ""; got != (way.ways.noFileBacked || noFileBacked) {
				t.Errorf("loop device %q", state.LoopDevice)
			}
			same(t, f.source, target)
		})
	}
}

// small is a tree with one external file and one inside of the image.
func small(t testing.TB, dir string) {
	t.Helper()
	write(t, dir+"/external", pattern(100_000))
	write(t, dir+"/inline", []byte("small"))
}

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// onlyObject returns the path of the object in a store that has one.
func onlyObject(t testing.TB, store string) string {
	t.Helper()
	objects, err := filepath.Glob(store + "/??/*")
	if err != nil || len(objects) != 1 {
		t.Fatalf("objects %q, %v; want one", objects, err)
	}
	return objects[0]
}

func TestDetachedMountIsUsableAndInvisible(t *testing.T) {
	f := newFixture(t, small)
	mounts := func() string {
		text, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	before := mounts()
	m, err := Create(t.Context(), f.options(t))
	if err != nil {
		t.Fatal(err)
	}
	if after := mounts(); after != before {
		t.Errorf("the mount is visible:\n%s", after)
	}
	same(t, f.source, procPath(m.File())+"/")
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestAttachPutsTheMountInPlace(t *testing.T) {
	f := newFixture(t, small)
	m, err := Create(t.Context(), f.options(t))
	if err != nil {
		t.Fatal(err)
	}
	target := workDir(t)
	if err := m.Attach(open(t, f.image, os.O_RDONLY)); !errors.Is(err, unix.EINVAL) {
		t.Errorf("attach to a file: %v", err)
	}
	if err := m.Attach(open(t, target, unix.O_PATH)); err != nil {
		t.Fatal(err)
	}
	if err := Unmount(target, UnmountOptions{}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("unmount while the descriptor is open: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	same(t, f.source, target)
	if err := Unmount(target, UnmountOptions{}); err != nil {
		t.Error(err)
	}
}

func TestObjectDirectoriesAreSearchedInOrder(t *testing.T) {
	f := newFixture(t, func(t testing.TB, dir string) {
		small(t, dir)
		write(t, dir+"/other", pattern(200_000))
	})
	// The second store has one of the objects, the third both; and the first none.
	empty, second := f.dir+"/empty", f.dir+"/second"
	mkdir(t, empty, second)
	objects, err := filepath.Glob(f.store + "/??/*")
	if err != nil || len(objects) != 2 {
		t.Fatalf("%q, %v", objects, err)
	}
	rel, err := filepath.Rel(f.store, objects[0])
	if err != nil {
		t.Fatal(err)
	}
	mkdir(t, filepath.Dir(second+"/"+rel))
	info, err := os.Stat(objects[0])
	if err != nil {
		t.Fatal(err)
	}
	// Without verity the kernel takes what it finds first.
	fake := strings.Repeat("z", int(info.Size()))
	write(t, second+"/"+rel, []byte(fake))
	for _, way := range allWays {
		t.Run(way.name, func(t *testing.T) {
			opts := f.options(t)
			opts.ways = way.ways
			opts.Objects = []*os.File{open(t, empty, unix.O_PATH), open(t, second, unix.O_PATH), opts.Objects[0]}
			target, _ := mountHere(t, opts)
			fakes := 0
			for _, name := range []string{"external", "other"} {
				content, err := os.ReadFile(target + "/" + name)
				if err != nil {
					t.Fatal(err)
				}
				if string(content) == fake {
					fakes++
				} else if source, err := os.ReadFile(f.source + "/" + name); err != nil || string(source) != string(content) {
					t.Errorf("%s has content of nowhere", name)
				}
			}
			if fakes != 1 {
				t.Errorf("%d of the files come from the second store, want 1", fakes)
			}
		})
	}
}

// needDataOnly skips tests of what overlayfs got with data-only layers.
func needDataOnly(t testing.TB) {
	t.Helper()
	if c := Probe(nil).Get(CapDataOnly); c.Answer != Yes {
		t.Skip(c.Detail)
	}
}

func TestMissingObjectIsSeenOnlyWhenOpened(t *testing.T) {
	f := newFixture(t, small)
	needDataOnly(t)
	if err := os.Remove(onlyObject(t, f.store)); err != nil {
		t.Fatal(err)
	}
	target, _ := mountHere(t, f.options(t))
	if info, err := os.Stat(target + "/external"); err != nil || info.Size() != 100_000 {
		t.Errorf("stat: %v", err)
	}
	if _, err := os.Open(target + "/external"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: %v, want ENOENT", err)
	}
	if content, err := os.ReadFile(target + "/inline"); err != nil || string(content) != "small" {
		t.Errorf("inline file: %q, %v", content, err)
	}
}

func TestImageWithoutExternalFilesNeedsNoObjects(t *testing.T) {
	f := newFixture(t, func(t testing.TB, dir string) { write(t, dir+"/inline", []byte("small")) })
	for _, way := range allWays {
		t.Run(way.name, func(t *testing.T) {
			opts := f.options(t)
			opts.Objects, opts.ways = nil, way.ways
			target, _ := mountHere(t, opts)
			same(t, f.source, target)
		})
		t.Run(way.name+" with upper directory", func(t *testing.T) {
			opts := f.options(t)
			opts.Objects, opts.ways = nil, way.ways
			dir := workDir(t)
			mkdir(t, dir+"/upper", dir+"/work")
			opts.Upper, opts.Work = open(t, dir+"/upper", unix.O_PATH), open(t, dir+"/work", unix.O_PATH)
			target, _ := mountHere(t, opts)
			sameBelow(t, f.source, target)
			write(t, target+"/new", nil)
		})
	}
}

func TestConvertedWhiteoutsHideFilesOfALayerBelow(t *testing.T) {
	testenv.Root(t)
	needDataOnly(t)
	f := newFixture(t, func(t testing.TB, dir string) {
		small(t, dir)
		if err := unix.Mknod(dir+"/gone", unix.S_IFCHR, 0); err != nil {
			t.Fatal(err)
		}
	})
	target, _ := mountHere(t, f.options(t))
	if got := xattrs(t, target+"/gone"); got["trusted.overlay.whiteout"] != "" || len(got) == 0 {
		t.Errorf("whiteout has xattrs %q", got)
	}
	below, top := workDir(t), workDir(t)
	write(t, below+"/gone", nil)
	write(t, below+"/stays", nil)
	if err := unix.Mount("overlay", top, "overlay", 0, "lowerdir="+target+":"+below); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(top, 0); err != nil {
			t.Error(err)
		}
	}()
	if _, err := os.Lstat(top + "/gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that the image hides: %v", err)
	}
	for _, name := range []string{"stays", "inline"} {
		if _, err := os.Lstat(top + "/" + name); err != nil {
			t.Error(err)
		}
	}
}

func TestMountPointsThatAreNone(t *testing.T) {
	f := newFixture(t, small)
	if _, err := At(t.Context(), f.options(t), f.dir+"/missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := At(t.Context(), f.options(t), f.image); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("file: %v", err)
	}
}

func TestMountPointMayBeALink(t *testing.T) {
	f := newFixture(t, small)
	target, link := workDir(t), f.dir+"/link"
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if _, err := At(t.Context(), f.options(t), link); err != nil {
		t.Fatal(err)
	}
	same(t, f.source, target)
	if err := Unmount(link, UnmountOptions{}); err != nil {
		t.Error(err)
	}
}

func TestMountFlags(t *testing.T) {
	f := newFixture(t, func(t testing.TB, dir string) {
		small(t, dir)
		if err := unix.Mknod(dir+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
			t.Fatal(err)
		}
	})
	for _, legacy := range []bool{false, true} {
		plain := f.options(t)
		plain.ways.noMountAPI = legacy
		target, _ := mountHere(t, plain)
		if null, err := os.Open(target + "/null"); err != nil {
			t.Errorf("device without nodev: %v", err)
		} else if err := null.Close(); err != nil {
			t.Error(err)
		}
		opts := f.options(t)
		opts.ways.noMountAPI = legacy
		opts.ReadOnly, opts.Nosuid, opts.Nodev, opts.Noexec, opts.Noatime = true, true, true, true, true
		target, _ = mountHere(t, opts)
		if _, err := os.Open(target + "/null"); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("device with nodev: %v", err)
		}
		var st unix.Statfs_t
		if err := unix.Statfs(target, &st); err != nil {
			t.Fatal(err)
		}
		const want = unix.ST_RDONLY | unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOEXEC | unix.ST_NOATIME
		if st.Flags&want != want {
			t.Errorf("flags %#x, want at least %#x", st.Flags, want)
		}
	}
}

func TestSimultaneousMountsThroughLoopDevices(t *testing.T) {
	f := newFixture(t, small)
	const mounts = 8
	var wg sync.WaitGroup
	targets := make([]string, mounts)
	for i := range targets {
		targets[i] = workDir(t)
		opts := f.options(t)
		opts.ways = ways{noFileBacked: true, noConfigure: i%2 == 1, noLayerFD: i%4 >= 2}
		wg.Go(func() {
			for range 5 {
				if _, err := At(t.Context(), opts, targets[i]); err != nil {
					t.Error(err)
					return
				}
				if _, err := os.ReadFile(targets[i] + "/external"); err != nil {
					t.Error(err)
				}
				if err := Unmount(targets[i], UnmountOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestCancelledMountLeavesNothing(t *testing.T) {
	f := newFixture(t, small)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := machineState()
	if _, err := At(ctx, f.options(t), workDir(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if after := machineState(); after != before {
		t.Errorf("left:\n%s", after)
	}
}
