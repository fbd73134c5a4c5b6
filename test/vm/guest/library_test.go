//go:build vmguest

package guest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/mount"
)

// options opens what the library needs to mount a sealed tree.
func (s sealed) options(t *testing.T) mount.Options {
	t.Helper()
	return mount.Options{Image: open(t, s.image), Objects: []*os.File{open(t, s.store)}}
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func digest(t *testing.T, hex string) fsverity.Digest {
	t.Helper()
	d, err := fsverity.ParseDigest(hex)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// copyImage makes a copy of the image in dir; it has no verity.
func (s sealed) copyImage(t *testing.T, dir string) string {
	t.Helper()
	content, err := os.ReadFile(s.image)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "copy-of-image")
	writeFile(t, path, content)
	return path
}

// onTmpfs makes a directory on a filesystem that cannot do fs-verity.
func onTmpfs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		t.Fatalf("%s is not on a tmpfs: type %x, %v", dir, st.Type, err)
	}
	return dir
}

func TestLibraryTellsWhichDigestTheImageHas(t *testing.T) {
	s := seal(t)
	opts := s.options(t)
	opts.Digest = digest(t, strings.Repeat("ab", 32))
	_, err := mount.At(t.Context(), opts, s.mnt)
	var wrong *mount.DigestError
	if !errors.Is(err, mount.ErrWrongVerity) || !errors.As(err, &wrong) {
		t.Fatalf("mount: %v, want ErrWrongVerity", err)
	}
	if wrong.Got.String() != s.digest {
		t.Errorf("the error says digest %v, want %s", wrong.Got, s.digest)
	}
	notMounted(t, s.mnt)
}

func TestLibraryNeedsVerityOfTheImage(t *testing.T) {
	s := seal(t)
	opts := s.options(t)
	opts.Image, opts.Digest = open(t, s.copyImage(t, s.dir)), digest(t, s.digest)
	if _, err := mount.At(t.Context(), opts, s.mnt); !errors.Is(err, mount.ErrNoVerity) {
		t.Errorf("mount: %v, want ErrNoVerity", err)
	}
	notMounted(t, s.mnt)
}

func TestLibraryComputesTheDigestWhereVerityIsImpossible(t *testing.T) {
	s := seal(t)
	opts := s.options(t)
	opts.Image, opts.Digest = open(t, s.copyImage(t, onTmpfs(t))), digest(t, s.digest)
	if _, err := mount.At(t.Context(), opts, s.mnt); !errors.Is(err, mount.ErrNoVerity) {
		t.Errorf("mount that may not compute: %v, want ErrNoVerity", err)
	}
	opts.AllowComputed = true
	state := s.at(t, opts)
	if state.DigestOrigin != mount.DigestComputed || state.Digest.String() != s.digest {
		t.Errorf("state is %q, digest %v; want it computed, %s", state.DigestOrigin, state.Digest, s.digest)
	}
}

// at mounts, and unmounts when the test ends.
func (s sealed) at(t *testing.T, opts mount.Options) mount.State {
	t.Helper()
	state, err := mount.At(t.Context(), opts, s.mnt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mount.Unmount(s.mnt, mount.UnmountOptions{}); err != nil {
			t.Error(err)
		}
		notMounted(t, s.mnt)
	})
	return state
}

func TestMountIsListedWithDigestAndVerity(t *testing.T) {
	s := seal(t)
	opts := s.options(t)
	opts.Verity, opts.Digest = mount.VerityRequire, digest(t, s.digest)
	s.at(t, opts)
	mounts, err := mount.List()
	if err != nil {
		t.Fatal(err)
	}
	if len(mounts) != 1 {
		t.Fatalf("%d mounts are listed, want 1: %+v", len(mounts), mounts)
	}
	got := mounts[0]
	// What is told depends on the kernel; what it cannot tell is named and not made up.
	want := mount.Info{
		Target: s.mnt, ID: got.ID, Source: got.Source, Image: s.image,
		Digest: opts.Digest, DigestOrigin: mount.DigestMeasured,
		Objects: []string{s.store}, Verity: "require", ReadOnly: true,
		Options: got.Options, Unknown: got.Unknown,
	}
	for _, field := range got.Unknown {
		switch field {
		case "image":
			want.Image = ""
		case "digest":
			want.Digest, want.DigestOrigin = fsverity.Digest{}, ""
		case "objects":
			want.Objects = nil
		}
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b fsverity.Digest) bool { return a == b })); diff != "" {
		t.Errorf("mount (-want +got):\n%s", diff)
	}
	t.Logf("unknown to this kernel: %q", got.Unknown)
}

func TestLibraryTriesVerity(t *testing.T) {
	tests := []struct {
		name  string
		store func(t *testing.T, s sealed) string
		ask   mount.Verity
		want  mount.Verity
		err   error
	}{
		{"try, store with verity", sameStore, mount.VerityTry, mount.VerityRequire, nil},
		{"require, store with verity", sameStore, mount.VerityRequire, mount.VerityRequire, nil},
		{"off, store with verity", sameStore, mount.VerityOff, mount.VerityOff, nil},
		{"try, store on tmpfs", tmpfsStore, mount.VerityTry, mount.VerityOff, nil},
		{"require, store on tmpfs", tmpfsStore, mount.VerityRequire, mount.VerityOff, mount.ErrNoVerity},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := seal(t)
			opts := s.options(t)
			opts.Objects = []*os.File{open(t, test.store(t, s))}
			opts.Verity, opts.Digest = test.ask, digest(t, s.digest)
			if test.err != nil {
				if _, err := mount.At(t.Context(), opts, s.mnt); !errors.Is(err, test.err) {
					t.Errorf("mount: %v, want %v", err, test.err)
				}
				notMounted(t, s.mnt)
				return
			}
			state := s.at(t, opts)
			if state.Verity != test.want || (state.VerityReason != "") != (test.ask == mount.VerityTry && test.want == mount.VerityOff) {
				t.Errorf("verity is %v (%q), want %v", state.Verity, state.VerityReason, test.want)
			}
			if state.DigestOrigin != mount.DigestMeasured || state.Digest.String() != s.digest {
				t.Errorf("state is %q, digest %v; want it measured, %s", state.DigestOrigin, state.Digest, s.digest)
			}
			if _, err := os.ReadFile(s.mnt + "/etc/first"); err != nil {
				t.Error(err)
			}
		})
	}
}

func sameStore(_ *testing.T, s sealed) string { return s.store }

func tmpfsStore(t *testing.T, s sealed) string {
	t.Helper()
	dir := onTmpfs(t)
	if err := os.CopyFS(dir, os.DirFS(s.store)); err != nil {
		t.Fatal(err)
	}
	return dir
}
