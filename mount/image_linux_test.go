package mount

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/linux"
)

// copyTo copies the image and returns the copy, open.
func (f fixture) copyTo(t testing.TB, path string) *os.File {
	t.Helper()
	content, err := os.ReadFile(f.image)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, content)
	return open(t, path, os.O_RDONLY)
}

func TestImagesThatTheKernelCannotMountDirectly(t *testing.T) {
	f := newFixture(t, small)
	memory := func(t *testing.T) *os.File {
		fd, err := unix.MemfdCreate("image", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		memfd := os.NewFile(uintptr(fd), "image")
		t.Cleanup(func() { _ = memfd.Close() })
		return f.copyTo(t, procPath(memfd))
	}
	overlaid := func(t *testing.T) *os.File {
		dir, other := workDir(t), workDir(t)
		if err := unix.Mount("overlay", dir, "overlay", 0, "lowerdir="+other+":"+f.dir); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		return open(t, dir+"/image.cfs", os.O_RDONLY)
	}
	tests := []struct {
		name  string
		image func(t *testing.T) *os.File
	}{
		{"tmpfs", func(t *testing.T) *os.File { return f.copyTo(t, tmpfs(t)+"/image") }},
		{"memory", memory},
		{"overlay", overlaid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			opts := f.options(t)
			opts.Image = test.image(t)
			target, state := mountHere(t, opts)
			if state.LoopDevice == "" {
				t.Error("no loop device")
			} else if name := backingFile(t, state.LoopDevice); name == "" {
				t.Errorf("%s has no file", state.LoopDevice)
			}
			same(t, f.source, target)
		})
	}
}

// backingFile returns the path of what a loop device shows; empty if it is free.
func backingFile(t testing.TB, device string) string {
	t.Helper()
	name, err := os.ReadFile("/sys/block/" + strings.TrimPrefix(device, "/dev/") + "/loop/backing_file")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(name))
}

func TestLoopDeviceIsFreeAfterUnmount(t *testing.T) {
	f := newFixture(t, small)
	before := machineState()
	target := workDir(t)
	opts := f.options(t)
	opts.ways.noFileBacked = true
	state, err := At(t.Context(), opts, target)
	if err != nil {
		t.Fatal(err)
	}
	if got := backingFile(t, state.LoopDevice); got != f.image {
		t.Errorf("%s shows %q, want %q", state.LoopDevice, got, f.image)
	}
	if err := Unmount(target, UnmountOptions{}); err != nil {
		t.Fatal(err)
	}
	if after, ok := settled(before); !ok {
		t.Errorf("left:\n%s", after)
	}
}

func TestUnlinkedImageIsMounted(t *testing.T) {
	f := newFixture(t, small)
	for _, way := range allWays {
		t.Run(way.name, func(t *testing.T) {
			opts := f.options(t)
			opts.Image = f.copyTo(t, f.dir+"/unlinked")
			if err := os.Remove(f.dir + "/unlinked"); err != nil {
				t.Fatal(err)
			}
			opts.ways = way.ways
			target, _ := mountHere(t, opts)
			same(t, f.source, target)
		})
	}
}

func TestImageOnABlockDevice(t *testing.T) {
	f := newFixture(t, small)
	opts := f.options(t)
	device, err := probeJob(opts.Image).bindLoop()
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	opts.Image = device
	target, state := mountHere(t, opts)
	if state.LoopDevice != "" {
		t.Errorf("made a loop device %s of a device", state.LoopDevice)
	}
	same(t, f.source, target)
}

func TestOwnersAreMapped(t *testing.T) {
	f := newFixture(t, func(t testing.TB, dir string) {
		small(t, dir)
		for i, id := range []int{0, 1, 1000, 70000} {
			path := fmt.Sprintf("%s/%d", dir, i)
			write(t, path, pattern(1000*i))
			if err := os.Lchown(path, id, id); err != nil {
				t.Fatal(err)
			}
		}
	})
	ids := []syscall.SysProcIDMap{
		{ContainerID: 0, HostID: 1001, Size: 1},
		{ContainerID: 1, HostID: 100_000, Size: 65535},
	}
	ns, err := linux.UserNamespace(ids, ids)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	for _, way := range allWays {
		t.Run(way.name, func(t *testing.T) {
			opts := f.options(t)
			opts.UserNS, opts.ways = ns, way.ways
			if way.ways.noMountAPI {
				if _, err := At(t.Context(), opts, workDir(t)); !errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("error %v, want ErrUnsupported", err)
				}
				return
			}
			target, _ := mountHere(t, opts)
			for i, want := range []uint32{1001, 100_000, 100_999, 65534} {
				var st syscall.Stat_t
				path := fmt.Sprintf("%s/%d", target, i)
				if err := syscall.Stat(path, &st); err != nil {
					t.Fatal(err)
				}
				if st.Uid != want || st.Gid != want {
					t.Errorf("%s belongs to %d:%d, want %d", path, st.Uid, st.Gid, want)
				}
				if _, err := os.ReadFile(path); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestBadImages(t *testing.T) {
	f := newFixture(t, small)
	good, err := os.ReadFile(f.image)
	if err != nil {
		t.Fatal(err)
	}
	before := machineState()
	refused := func(t *testing.T, image *os.File, want error) {
		t.Helper()
		for _, way := range allWays {
			opts := f.options(t)
			opts.Image, opts.ways = image, way.ways
			if _, err := At(t.Context(), opts, workDir(t)); !errors.Is(err, want) || !strings.Contains(err.Error(), image.Name()) {
				t.Errorf("%s: error %v, want %v of %s", way.name, err, want, image.Name())
			}
		}
		if after, ok := settled(before); !ok {
			t.Errorf("left:\n%s", after)
		}
	}
	change := func(offset int, value byte) func() []byte {
		return func() []byte {
			b := append([]byte(nil), good...)
			b[offset] = value
			return b
		}
	}
	tests := []struct {
		name  string
		image func() []byte
		want  error
	}{
		{"empty", func() []byte { return nil }, ErrNotComposefs},
		{"text", func() []byte { return []byte(strings.Repeat("hello ", 1000)) }, ErrNotComposefs},
		{"without header", change(0, 0), ErrNotComposefs},
		{"later header", change(4, 9), ErrNotComposefs},
		{"other superblock", change(1024, 0), unix.EINVAL},
		{"cut off", func() []byte { return good[:len(good)-1] }, ErrNotComposefs},
		{"header only", func() []byte { return good[:32] }, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := f.dir + "/bad"
			write(t, path, test.image())
			image := open(t, path, os.O_RDONLY)
			if test.want != nil {
				refused(t, image, test.want)
				return
			}
			opts := f.options(t)
			opts.Image = image
			var kernel *KernelError
			if _, err := At(t.Context(), opts, workDir(t)); !errors.As(err, &kernel) {
				t.Errorf("error %v", err)
			}
		})
	}
	t.Run("directory", func(t *testing.T) {
		refused(t, open(t, f.source, os.O_RDONLY), unix.EISDIR)
	})
}
