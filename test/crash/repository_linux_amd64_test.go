package crash

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/go-composefs/composefs/objects"
	"github.com/go-composefs/composefs/repository"
)

// scene is a repository with an image "old", made by the program that is hurt, and sources to import.
type scene struct {
	t        *testing.T
	program  string
	original string // the repository as each run begins with it
	repo     string // what is hurt
	small    string // a source that shares files with that of "old"
	want     string // the digest of its image
}

func newScene(t *testing.T) *scene {
	t.Helper()
	dir := absolute(t, t.TempDir())
	s := &scene{
		t: t, program: buildProgram(t),
		original: filepath.Join(dir, "original"), repo: filepath.Join(dir, "repo"), small: filepath.Join(dir, "small"),
	}
	old, gone := filepath.Join(dir, "old"), filepath.Join(dir, "gone")
	for path, data := range map[string]string{
		filepath.Join(old, "shared"): strings.Repeat("shared", 100), filepath.Join(old, "own"): strings.Repeat("own", 100),
		filepath.Join(gone, "a"): strings.Repeat("garbage", 100), filepath.Join(gone, "b"): strings.Repeat("rubbish", 100),
		filepath.Join(s.small, "shared"): strings.Repeat("shared", 100), filepath.Join(s.small, "new"): strings.Repeat("new", 100),
		filepath.Join(s.small, "sub", "large"): strings.Repeat("large", 1<<20),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.must("init", "--repo", s.original, "--insecure")
	s.must("import", "--repo", s.original, old, "old")
	// Garbage: an image that nothing names any more.
	s.must("import", "--repo", s.original, gone, "gone")
	s.must("rm", "--repo", s.original, "gone")
	s.reset()
	s.must("import", "--repo", s.repo, s.small, "new")
	s.want = s.refs()["new"]
	if s.want == "" {
		t.Fatal("the import has made no image")
	}
	return s
}

// must runs the program unhurt.
func (s *scene) must(args ...string) {
	s.t.Helper()
	if out, err := exec.Command(s.program, args...).CombinedOutput(); err != nil {
		s.t.Errorf("%q: %v\n%s", args, err, out)
	}
}

// reset puts the repository back to how it was.
func (s *scene) reset() {
	s.t.Helper()
	err := os.RemoveAll(s.repo)
	if err == nil {
		err = exec.Command("cp", "-a", s.original, s.repo).Run()
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// refs returns the images' digests by their names.
func (s *scene) refs() map[string]string {
	s.t.Helper()
	r, err := repository.Open(s.repo, repository.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	images, err := r.Images()
	if err != nil {
		s.t.Fatal(err)
	}
	refs := map[string]string{}
	for _, image := range images {
		if image.Err != nil {
			s.t.Error(image.Err)
		}
		for _, name := range image.Refs {
			refs[name] = image.Digest.String()
			s.whole(r, name)
		}
	}
	return refs
}

// whole fails unless an image and all it needs are what they should be.
func (s *scene) whole(r *repository.Repository, name string) {
	s.t.Helper()
	store, err := objects.Open(filepath.Join(s.repo, "objects"), objects.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer store.Close()
	img, err := r.OpenImage(name)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer img.Close()
	refs, err := img.Objects()
	if err != nil {
		s.t.Error(err)
	}
	for _, ref := range append(refs, repository.ObjectRef{Digest: img.Digest}) {
		if err := store.Verify(s.t.Context(), ref.Digest); err != nil {
			s.t.Errorf("image %s: %v", name, err)
		}
	}
}

// run hurts a run of the program and returns how many operations it began. A run that gets an error
// fails, unless it can do without what failed.
func (s *scene) run(hurt fault, args ...string) int {
	s.t.Helper()
	operations, status, output := traced(s.t, s.repo, hurt, append([]string{s.program}, args...)...)
	switch {
	case hurt.at == 0 && (!status.Exited() || status.ExitStatus() != 0):
		s.t.Fatalf("%q ended with %v: %s", args, status, output)
	case strings.Contains(output, "panic") || strings.Contains(output, "fatal error"):
		s.t.Errorf("%q: %s", args, output)
	case status.Exited() && status.ExitStatus() == 1 && !strings.HasPrefix(output, "composefs: "):
		s.t.Errorf("%q: no word of what failed: %q", args, output)
	}
	return len(operations)
}

// faults runs a test with each kind of fault.
func faults(t *testing.T, test func(t *testing.T, err syscall.Errno)) {
	for name, err := range map[string]syscall.Errno{"killed": 0, "full disk": syscall.ENOSPC, "I-O error": syscall.EIO} {
		t.Run(name, func(t *testing.T) { test(t, err) })
	}
}

func TestRepositoryStaysWholeWhateverHappensToAnImport(t *testing.T) {
	s := newScene(t)
	faults(t, func(t *testing.T, err syscall.Errno) {
		s.t = t
		args := []string{"import", "--repo", s.repo, s.small, "new"}
		eachFault(t, err, 60, func(hurt fault) int {
			s.reset()
			return s.run(hurt, args...)
		}, func(fault) {
			refs := s.refs()
			if refs["old"] == "" || refs["new"] != "" && refs["new"] != s.want {
				t.Errorf("refs: %v", refs)
			}
			s.must("gc", "--repo", s.repo)
			s.must("fsck", "--repo", s.repo)
			s.must(args...)
			if got := s.refs()["new"]; got != s.want {
				t.Errorf("imported again: %q, want %s", got, s.want)
			}
		})
	})
}

func TestRepositoryStaysWholeWhateverHappensToACollection(t *testing.T) {
	s := newScene(t)
	faults(t, func(t *testing.T, err syscall.Errno) {
		s.t = t
		eachFault(t, err, 60, func(hurt fault) int {
			s.reset()
			return s.run(hurt, "gc", "--repo", s.repo)
		}, func(fault) {
			if refs := s.refs(); refs["old"] == "" {
				t.Errorf("refs: %v", refs)
			}
			s.must("gc", "--repo", s.repo)
			s.must("fsck", "--repo", s.repo)
			out, err := exec.Command(s.program, "gc", "--dry-run", "--repo", s.repo).Output()
			if err != nil || bytes.Contains(out, []byte("object ")) {
				t.Errorf("garbage is left: %v\n%s", err, out)
			}
		})
	})
}

func TestRepositoryStaysWholeWhateverHappensToNames(t *testing.T) {
	s := newScene(t)
	for name, args := range map[string][]string{
		"tag": {"tag", "--repo", s.repo, "old", "other/name"},
		"rm":  {"rm", "--repo", s.repo, "old"},
	} {
		t.Run(name, func(t *testing.T) {
			faults(t, func(t *testing.T, err syscall.Errno) {
				s.t = t
				eachFault(t, err, 60, func(hurt fault) int {
					s.reset()
					return s.run(hurt, args...)
				}, func(fault) {
					s.refs()
					s.must("fsck", "--repo", s.repo)
					if out, err := exec.Command(s.program, args...).CombinedOutput(); err != nil && !strings.Contains(string(out), "old") {
						t.Errorf("again: %v\n%s", err, out)
					}
				})
			})
		})
	}
}

func TestRepositoryThatIsMadeIsThereOrNot(t *testing.T) {
	s := newScene(t)
	made := filepath.Join(filepath.Dir(s.repo), "made")
	faults(t, func(t *testing.T, err syscall.Errno) {
		s.t = t
		eachFault(t, err, 60, func(hurt fault) int {
			if err := os.RemoveAll(made); err != nil {
				t.Fatal(err)
			}
			operations, _, _ := traced(t, made, hurt, s.program, "init", "--repo", made, "--insecure")
			return len(operations)
		}, func(fault) {
			r, err := repository.Open(made, repository.Options{})
			if err == nil {
				err = r.Close()
			} else if errors.Is(err, os.ErrNotExist) || errors.Is(err, repository.ErrNotRepository) {
				err = nil
			}
			if err != nil {
				t.Error(err)
			}
			s.must("init", "--repo", made, "--insecure")
		})
	})
}
