package mount

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/testenv"
)

// asAnother marks the process in which the body of a test runs, and names the fixture there.
const asAnother = "COMPOSEFS_TEST_AS_ANOTHER"

// elsewhere runs the calling test once more in a process with other attributes, where existing
// says so, and fails if it fails there.
func elsewhere(t *testing.T, f fixture, attr *syscall.SysProcAttr) {
	t.Helper()
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	// The test binary may lie where others may not look.
	path := f.dir + "/mount.test"
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(f.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), asAnother+"="+f.dir)
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
}

// existing is the fixture that the arranging process made.
func existing() (fixture, bool) {
	dir, ok := os.LookupEnv(asAnother)
	return fixture{dir: dir, source: dir + "/source", image: dir + "/image.cfs", store: dir + "/objects"}, ok
}

func TestMountInsideOfAChroot(t *testing.T) {
	f, inside := existing()
	if inside {
		for _, way := range allWays {
			opts := f.options(t)
			opts.ways = way.ways
			target, _ := mountHere(t, opts)
			same(t, f.source, target)
		}
		return
	}
	f = newFixture(t, small)
	// The root is a plain directory: in it no mount can be reached that could be made private.
	root := workDir(t)
	for _, dir := range []string{"/proc", "/sys", "/dev", "/usr", "/bin", "/lib", "/lib64", "/tmp", f.dir} {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			continue
		}
		mkdir(t, root+dir)
		if err := unix.Mount(dir, root+dir, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := unix.Unmount(root+dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}()
	}
	// What is mounted by mistake would show up elsewhere.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Error(err)
		}
	}()
	before := machineState()
	elsewhere(t, f, &syscall.SysProcAttr{Chroot: root})
	if after, ok := settled(before); !ok {
		t.Errorf("left:\n%s", after)
	}
}

func TestWithoutPrivileges(t *testing.T) {
	f, inside := existing()
	if !inside {
		f = newFixture(t, small)
		elsewhere(t, f, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
		return
	}
	_, err := At(t.Context(), f.options(t), "/tmp")
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("mount: %v, want ErrPermission", err)
	}
	if err := Unmount("/proc", UnmountOptions{}); !errors.Is(err, ErrNotMounted) {
		t.Errorf("unmount of something else: %v", err)
	}
	if _, err := List(); err != nil {
		t.Errorf("list: %v", err)
	}
	c := Probe(open(t, os.TempDir(), os.O_RDONLY))
	for _, name := range []string{CapErofsFile, CapDataOnly, CapLayerFD, CapIDMap, CapTrustedXattr} {
		if got := c.Get(name); got.Answer != Unknown || got.Error == "" {
			t.Errorf("probe without privileges: %+v", got)
		}
	}
	for _, name := range []string{CapErofs, CapOverlay} {
		// The arranging process has loaded them.
		if got := c.Get(name); got.Answer != Yes {
			t.Errorf("probe without privileges: %+v", got)
		}
	}
}

func TestUnmountByOneWhoMayNot(t *testing.T) {
	f, inside := existing()
	if inside {
		if err := Unmount(f.dir+"/target", UnmountOptions{}); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("unmount: %v, want ErrPermission", err)
		}
		if got := listed(t, f.dir+"/target"); got.Image != f.image {
			t.Errorf("listed as %+v", got)
		}
		return
	}
	f = newFixture(t, small)
	mkdir(t, f.dir+"/target")
	if _, err := At(t.Context(), f.options(t), f.dir+"/target"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := Unmount(f.dir+"/target", UnmountOptions{}); err != nil {
			t.Error(err)
		}
	}()
	elsewhere(t, f, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
}

func TestProbeAnswersEverythingAndLeavesNothing(t *testing.T) {
	testenv.Root(t)
	for _, dir := range []string{workDir(t), tmpfs(t)} {
		before, files := machineState(), openFiles(t)
		c := Probe(open(t, dir, unix.O_PATH))
		for _, name := range []string{
			CapErofs, CapErofsFile, CapLoop, CapOverlay, CapDataOnly, CapLayerFD, CapOverlayVerity, CapIDMap,
			CapUserNamespace, CapUserOverlay, CapFUSE, CapVerity, CapReflink, CapTmpfile, CapTrustedXattr,
		} {
			got := c.Get(name)
			if got.Detail == "" || !strings.HasSuffix(got.Detail, ".") || (got.Error == "") != (got.Answer == Yes) {
				t.Errorf("%+v", got)
			}
			if got.Answer == Unknown && name != CapOverlayVerity {
				t.Errorf("root cannot tell: %+v", got)
			}
		}
		if after, ok := settled(before); !ok {
			t.Errorf("left:\n%s", after)
		}
		if now := openFiles(t); now != files+1 {
			t.Errorf("%d open files, before %d and the directory", now, files)
		}
		if left, err := filepath.Glob(dir + "/*"); err != nil || len(left) != 0 {
			t.Errorf("left %q, %v", left, err)
		}
	}
	if got := Probe(nil).Get(CapVerity); got.Answer != Unknown {
		t.Errorf("nobody asked: %+v", got)
	}
}

func TestProbeKnowsTmpfs(t *testing.T) {
	testenv.Root(t)
	c := Probe(open(t, tmpfs(t), os.O_RDONLY))
	for _, name := range []string{CapErofsFile, CapVerity, CapReflink} {
		if got := c.Get(name); got.Answer != No {
			t.Errorf("%+v", got)
		}
	}
	if got := c.Get(CapTmpfile); got.Answer != Yes {
		t.Errorf("%+v", got)
	}
}

func TestProbeOfADirectoryThatCannotBeWritten(t *testing.T) {
	testenv.Root(t)
	dir := tmpfs(t)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	c := Probe(open(t, dir, os.O_RDONLY))
	for _, name := range []string{CapErofsFile, CapReflink, CapTmpfile, CapTrustedXattr} {
		if got := c.Get(name); got.Answer != Unknown {
			t.Errorf("%+v", got)
		}
	}
	if got := c.Get(CapVerity); got.Answer != No {
		t.Errorf("%+v", got)
	}
}
