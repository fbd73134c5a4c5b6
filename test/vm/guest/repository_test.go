//go:build vmguest

package guest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
)

// objectOf returns the path of the object of a content.
func objectOf(t *testing.T, repo string, content []byte) string {
	t.Helper()
	digest, err := fsverity.Sum(fsverity.SHA256, content)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(repo, "objects", digest.ObjectPath())
}

// putObject puts other content in place of an object, without fs-verity.
func putObject(t *testing.T, object string, content []byte) {
	t.Helper()
	temp := object + ".new"
	writeFile(t, temp, content)
	if err := os.Rename(temp, object); err != nil {
		t.Fatal(err)
	}
}

// TestRepositoryThatRequiresVerity takes a repository through what befalls it: made, imported into, mounted,
// copied by a program that loses fs-verity, mended while it is mounted.
func TestRepositoryThatRequiresVerity(t *testing.T) {
	dir, source := workDir(t), t.TempDir()
	repo, mnt := dir+"/repo", dir+"/mnt"
	content, other := blocks(t.Name(), 5), blocks(t.Name()+" other", 40)
	writeFile(t, source+"/file", content)
	writeFile(t, source+"/other", other)
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	composefs := func(args ...string) string {
		t.Helper()
		return run(t, append([]string{"composefs", args[0], "--repo", repo}, args[1:]...)...)
	}
	composefs("init")
	digest := strings.TrimSpace(composefs("import", "--require-verity", source, "app"))
	if got := composefs("images"); !strings.Contains(got, "kernel") {
		t.Errorf("images says %q", got)
	}
	object := objectOf(t, repo, content)
	if got := measure(t, object); strings.ReplaceAll(filepath.Join(filepath.Base(filepath.Dir(object)), filepath.Base(object)), "/", "") != got {
		t.Errorf("the kernel measures the object as %s", got)
	}
	composefs("mount", "app", mnt)
	defer run(t, "composefs", "umount", mnt)
	if got, err := os.ReadFile(mnt + "/other"); err != nil || !bytes.Equal(got, other) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	composefs("fsck")

	// A copy without fs-verity: the content is right, and the kernel does not verify it.
	putObject(t, object, content)
	out, _, err := try("composefs", "fsck", "--repo", repo)
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(out, "it has no fs-verity\n") {
		t.Errorf("fsck: %v, %s", err, out)
	}
	dropCaches(t)
	if _, err := os.ReadFile(mnt + "/file"); !errors.Is(err, unix.EIO) {
		t.Errorf("the mount reads an object without fs-verity: %v, want EIO", err)
	}
	composefs("fsck", "--repair")
	composefs("fsck")
	measure(t, object)

	// Wrong content, and good content elsewhere: mended while the image is mounted.
	putObject(t, object, bytes.ToUpper(content))
	refused(t, "", "composefs", "fsck", "--repo", repo)
	composefs("fsck", "--repair", "--from", source)
	composefs("fsck")
	run(t, "composefs", "umount", mnt)
	composefs("mount", "app", mnt)
	dropCaches(t)
	if got, err := os.ReadFile(mnt + "/file"); err != nil || !bytes.Equal(got, content) {
		t.Errorf("after the repair: %d bytes, %v", len(got), err)
	}

	// A whole repository that was copied: repair gives everything its fs-verity back.
	second := dir + "/second"
	if out, err := exec.Command("cp", "-a", repo, second).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	refused(t, "", "composefs", "fsck", "--require-verity", "--repo", second)
	refused(t, "does not require fs-verity", "composefs", "import", "--require-verity", "--repo", second, source)
	run(t, "composefs", "fsck", "--repair", "--require-verity", "--repo", second)
	run(t, "composefs", "fsck", "--require-verity", "--repo", second)
	run(t, "composefs", "import", "--require-verity", "--repo", second, source)
	if got := measure(t, objectOf(t, second, other)); got == "" {
		t.Error("no fs-verity after the repair")
	}
	if got := measure(t, filepath.Join(second, "objects", digest[:2], digest[2:])); got != digest {
		t.Errorf("the image measures as %q, want %s", got, digest)
	}

	// What is mounted stays, though nobody has a name for it; and goes when it is unmounted.
	composefs("rm", "app")
	composefs("gc")
	if got, err := os.ReadFile(mnt + "/other"); err != nil || !bytes.Equal(got, other) {
		t.Errorf("after gc: %d bytes, %v", len(got), err)
	}
	run(t, "composefs", "umount", mnt)
	composefs("gc")
	if _, err := os.Stat(object); err == nil {
		t.Error("an object stays that nobody needs")
	}
	composefs("mount", "--help")
	run(t, "composefs", "mount", "--repo", second, "app", mnt) // for the umount at the end
}
