package mount

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/linux"
)

func TestFailureOfAnyStepLeavesNothing(t *testing.T) {
	f := newFixture(t, func(t testing.TB, dir string) { write(t, dir+"/inline", []byte("small")) })
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 1001, Size: 1}}
	ns, err := linux.UserNamespace(ids, ids)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	t.Setenv("TMPDIR", workDir(t))
	for _, way := range allWays {
		t.Run(way.name, func(t *testing.T) {
			opts := f.options(t)
			opts.Objects, opts.ways = nil, way.ways
			if !way.ways.noMountAPI {
				opts.UserNS = ns
			}
			var steps []string
			opts.ways.fail = func(step string) error {
				if !slices.Contains(steps, step) {
					steps = append(steps, step)
				}
				return nil
			}
			target := workDir(t)
			before, files := machineState(), openFiles(t)
			if _, err := At(t.Context(), opts, target); err != nil {
				t.Fatal(err)
			}
			if err := Unmount(target, UnmountOptions{}); err != nil {
				t.Fatal(err)
			}
			if after, ok := settled(before); !ok {
				t.Errorf("left after unmount:\n%s", after)
			}
			if len(steps) < 2 {
				t.Errorf("only the steps %q", steps)
			}
			for _, failing := range steps {
				opts.ways.fail = func(step string) error {
					if step == failing {
						return unix.EIO
					}
					return nil
				}
				if _, err := At(t.Context(), opts, target); !errors.Is(err, unix.EIO) {
					t.Errorf("%s fails: error %v", failing, err)
				}
				if after, ok := settled(before); !ok {
					t.Errorf("%s fails: left:\n%s", failing, after)
				}
				if now := openFiles(t); now != files {
					t.Errorf("%s fails: %d open files, before %d", failing, now, files)
				}
				if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) != 1 {
					// the target itself is there
					t.Errorf("%s fails: files left: %v, %v", failing, left, err)
				}
			}
		})
	}
}

// openFiles counts the process's descriptors.
func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestMountLeavesNoDescriptorOpen(t *testing.T) {
	f := newFixture(t, small)
	for _, way := range allWays {
		t.Run(way.name, func(t *testing.T) {
			opts, target := f.options(t), workDir(t)
			opts.ways = way.ways
			before := openFiles(t)
			for range 3 {
				if _, err := At(t.Context(), opts, target); err != nil {
					t.Fatal(err)
				}
				if err := Unmount(target, UnmountOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			if after := openFiles(t); after != before {
				t.Errorf("%d open files, before %d", after, before)
			}
		})
	}
}

func TestErrorsCarryTheKernelsWords(t *testing.T) {
	f := newFixture(t, small)
	if log := openKernelLog(); log == nil {
		t.Skip("the kernel's log cannot be read here")
	} else {
		log.Close()
	}
	tests := []struct {
		name string
		opts func() Options
		want string
	}{
		{"upper and work are one directory", func() Options {
			opts, upper := f.writable(t)
			opts.Work = open(t, upper, unix.O_PATH)
			return opts
		}, "overlayfs: "},
		{"superblock", func() Options {
			image, err := os.ReadFile(f.image)
			if err != nil {
				t.Fatal(err)
			}
			image[1024+12] = 77 // block size
			write(t, f.dir+"/bad", image)
			opts := f.options(t)
			opts.Image = open(t, f.dir+"/bad", os.O_RDONLY)
			return opts
		}, "erofs"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := At(t.Context(), test.opts(), workDir(t))
			var kernel *KernelError
			if !errors.As(err, &kernel) || len(kernel.Messages) == 0 || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want the kernel's words", err)
			}
		})
	}
}

func TestObjectDirectoriesInEachOtherAreRefused(t *testing.T) {
	f := newFixture(t, small)
	opts := f.options(t)
	opts.Objects = append(opts.Objects, opts.Objects[0])
	if _, err := At(t.Context(), opts, workDir(t)); !errors.Is(err, unix.ELOOP) {
		t.Errorf("error %v, want ELOOP", err)
	}
}

func TestWaysByNameWantTheDirectoryUnderItsPath(t *testing.T) {
	f := newFixture(t, small)
	moved := f.dir + "/moved"
	mkdir(t, moved)
	dir := open(t, moved, unix.O_PATH)
	if err := os.Remove(moved); err != nil {
		t.Fatal(err)
	}
	opts := f.options(t)
	opts.Objects, opts.ways = []*os.File{dir}, ways{noLayerFD: true}
	if _, err := At(t.Context(), opts, workDir(t)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed: %v", err)
	}
	opts.Objects = []*os.File{open(t, f.store, unix.O_PATH)}
	mkdir(t, moved)
	defer covered(t, f.store)()
	if _, err := At(t.Context(), opts, workDir(t)); !errors.Is(err, unix.ESTALE) {
		t.Errorf("covered by a mount: %v", err)
	}
}

// covered mounts something on the directory and returns what unmounts it.
func covered(t testing.TB, dir string) func() {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}
}

func TestMountNamespaceOfTheProcessStays(t *testing.T) {
	f := newFixture(t, small)
	namespaces := func() []string {
		threads, err := filepath.Glob("/proc/self/task/*/ns/mnt")
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, path := range threads {
			// A thread may end meanwhile.
			if ns, err := os.Readlink(path); err == nil && !slices.Contains(all, ns) {
				all = append(all, ns)
			}
		}
		return all
	}
	opts := f.options(t)
	opts.ways.noLayerFD = true
	for range 20 {
		m, err := Create(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	main, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := 1000; ; deadline-- {
		all := namespaces()
		if len(all) == 1 && all[0] == main {
			return
		}
		if deadline == 0 {
			t.Fatalf("threads in mount namespaces %q, the main one in %s", all, main)
		}
	}
}

func TestKernelLogMessage(t *testing.T) {
	for record, want := range map[string]string{
		"3,339,5140900,-;overlayfs: no good\n KEY=value\n":    "overlayfs: no good",
		"4,339,5140900,-;erofs (device x): worse\n":           "erofs (device x): worse",
		"12,339,5140900,-;loop0: facility user\n":             "loop0: facility user",
		"6,339,5140900,-;erofs (device erofs): mounted\n":     "",
		"3,339,5140900,-;EXT4-fs (vda): overlayfs: nothing\n": "",
		"nothing": "", "": "", ";": "", "x;overlayfs: a": "",
	} {
		if got := kernelLogMessage(record); got != want {
			t.Errorf("%q: %q, want %q", record, got, want)
		}
	}
}
