package mount

import (
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// writable adds an upper directory on the same filesystem as the fixture.
func (f fixture) writable(t testing.TB) (opts Options, upper string) {
	t.Helper()
	opts = f.options(t)
	dir := workDir(t)
	mkdir(t, dir+"/upper", dir+"/work")
	opts.Upper, opts.Work = open(t, dir+"/upper", unix.O_PATH), open(t, dir+"/work", unix.O_PATH)
	return opts, dir + "/upper"
}

func TestMetadataChangeDoesNotCopyDataUp(t *testing.T) {
	f := newFixture(t, func(t testing.TB, dir string) { write(t, dir+"/big", pattern(8<<20)) })
	for _, way := range allWays {
		t.Run(way.name, func(t *testing.T) {
			opts, upper := f.writable(t)
			opts.ways = way.ways
			target, _ := mountHere(t, opts)
			if err := os.Chmod(target+"/big", 0o600); err != nil {
				t.Fatal(err)
			}
			var st syscall.Stat_t
			if err := syscall.Stat(upper+"/big", &st); err != nil {
				t.Fatal(err)
			}
			if st.Size != 8<<20 || st.Blocks*512 > 64<<10 {
				t.Errorf("upper file has %d bytes in %d blocks, want none", st.Size, st.Blocks)
			}
			if _, ok := xattrs(t, upper+"/big")["trusted.overlay.metacopy"]; !ok {
				t.Error("upper file is no metacopy")
			}
			if !sameContent(t, f.source+"/big", target+"/big") {
				t.Error("content changed")
			}
		})
	}
}

func TestWritesGoToTheUpperDirectoryOnly(t *testing.T) {
	f := newFixture(t, small)
	object := onlyObject(t, f.store)
	for _, volatile := range []bool{false, true} {
		opts, upper := f.writable(t)
		opts.Volatile = volatile
		target, _ := mountHere(t, opts)
		write(t, target+"/new", []byte("n"))
		write(t, target+"/external", []byte("changed"))
		if err := os.Remove(target + "/inline"); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]string{upper + "/new": "n", upper + "/external": "changed", target + "/external": "changed"} {
			if got, err := os.ReadFile(path); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v", path, got, err)
			}
		}
		if !sameContent(t, object, f.source+"/external") {
			t.Error("the object changed")
		}
		mounts, err := List()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(mounts, func(m Info) bool { return m.Target == target })
		if i < 0 || mounts[i].Volatile != volatile || mounts[i].ReadOnly || mounts[i].Upper != upper {
			t.Errorf("listed as %+v", mounts)
		}
	}
}

func TestFailedVolatileMountDoesNotSpoilTheUpperDirectory(t *testing.T) {
	f := newFixture(t, small)
	for _, way := range allWays {
		t.Run(way.name, func(t *testing.T) {
			opts, _ := f.writable(t)
			opts.Volatile, opts.ways = true, way.ways
			last := "attach"
			if way.ways.noMountAPI {
				last = "create overlay"
			}
			opts.ways.fail = func(step string) error {
				if step == last {
					return unix.EIO
				}
				return nil
			}
			if _, err := At(t.Context(), opts, workDir(t)); !errors.Is(err, unix.EIO) {
				t.Fatalf("error %v", err)
			}
			opts.ways.fail = nil
			target := workDir(t)
			if _, err := At(t.Context(), opts, target); err != nil {
				t.Fatal(err)
			}
			if err := Unmount(target, UnmountOptions{}); err != nil {
				t.Fatal(err)
			}
			// What was written may be lost: this mark is none of a failure.
			if _, err := At(t.Context(), opts, target); err == nil {
				t.Error("an upper directory of a volatile mount was used again")
				_ = Unmount(target, UnmountOptions{})
			}
		})
	}
}

func TestReadOnlyForbidsWritingToTheUpperDirectory(t *testing.T) {
	f := newFixture(t, small)
	opts, _ := f.writable(t)
	opts.ReadOnly = true
	target, _ := mountHere(t, opts)
	if err := os.WriteFile(target+"/new", nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("write: %v", err)
	}
}

func TestWithoutUpperDirectoryNothingCanBeWritten(t *testing.T) {
	f := newFixture(t, small)
	target, _ := mountHere(t, f.options(t))
	if err := os.WriteFile(target+"/new", nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("write: %v", err)
	}
	if err := os.Chmod(target+"/inline", 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("chmod: %v", err)
	}
}
