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

// TestRepairIsDoneOrNot hurts repairs of a repository in which one object has wrong content, one is missing,
// and one of an image without a name is wrong and has no good copy.
func TestRepairIsDoneOrNot(t *testing.T) {
	s := newScene(t)
	var kept []string
	err := filepath.WalkDir(filepath.Join(s.original, "objects"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		switch {
		case err != nil:
			return err
		case bytes.HasPrefix(data, []byte("shared")), bytes.HasPrefix(data, []byte("rubbish")):
			kept = append(kept, path)
			err = os.WriteFile(path, bytes.ToUpper(data), 0o644)
		case bytes.HasPrefix(data, []byte("own")):
			kept = append(kept, path)
			err = os.Remove(path)
		}
		return err
	})
	if err != nil || len(kept) != 3 {
		t.Fatalf("%v: %q", err, kept)
	}
	old := filepath.Join(filepath.Dir(s.repo), "old")
	faults(t, func(t *testing.T, err syscall.Errno) {
		s.t = t
		args := []string{"fsck", "--repo", s.repo, "--repair", "--from", old}
		eachFault(t, err, 60, func(hurt fault) int {
			s.reset()
			return s.repair(hurt, args...)
		}, func(fault) {
			// What it could not mend is somewhere still; what it could is done by the next one.
			_ = exec.Command(s.program, args...).Run() // 3: what was put away is missing
			s.must("gc", "--repo", s.repo)             // the image without a name that misses it
			s.must("fsck", "--repo", s.repo)
			s.refs()
			if wrong := s.find("RUBBISH"); wrong != 1 {
				t.Errorf("the only copy of a wrong object is there %d times", wrong)
			}
		})
	})
}

// repair is run for fsck, which ends with 3 also unhurt if something had to be put away.
func (s *scene) repair(hurt fault, args ...string) int {
	s.t.Helper()
	operations, status, output := traced(s.t, s.repo, hurt, append([]string{s.program}, args...)...)
	switch {
	case hurt.at == 0 && (!status.Exited() || status.ExitStatus() != 0 && status.ExitStatus() != 3):
		s.t.Fatalf("%q ended with %v: %s", args, status, output)
	case strings.Contains(output, "panic") || strings.Contains(output, "fatal error"):
		s.t.Errorf("%q: %s", args, output)
	}
	return len(operations)
}

// find counts the files of the repository that begin with a text.
func (s *scene) find(begin string) (n int) {
	s.t.Helper()
	err := filepath.WalkDir(s.repo, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.HasPrefix(data, []byte(begin)) {
			n++
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return n
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
