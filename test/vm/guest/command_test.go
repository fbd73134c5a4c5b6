//go:build vmguest

package guest

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBuildAndMountVerified takes the way that a user is shown, with both hashes and all formats.
func TestBuildAndMountVerified(t *testing.T) {
	tests := []struct{ hash, format string }{
		{"sha256", "v0"}, {"sha256", "v1"}, {"sha256", "v2"}, {"sha512", "v1"}, {"sha512", "v2"},
	}
	for _, test := range tests {
		t.Run(test.hash+" "+test.format, func(t *testing.T) {
			dir, source := workDir(t), t.TempDir()
			store, image, mnt := dir+"/store", dir+"/image", dir+"/mnt"
			content := blocks(t.Name(), 5)
			writeFile(t, source+"/file", content)
			writeFile(t, source+"/small", []byte("small"))
			if err := os.Mkdir(mnt, 0o755); err != nil {
				t.Fatal(err)
			}
			digest := strings.TrimSpace(run(t, "composefs", "build", "--verity=require",
				"--hash="+test.hash, "--format="+test.format, "--store", store, source, image))
			if got := measure(t, image); got != digest {
				t.Fatalf("the kernel measures the image as %q, build printed %q", got, digest)
			}
			refused(t, "wrong fs-verity digest", "composefs", "mount", "--store", store,
				"--digest", strings.Repeat("ab", len(digest)/2), image, mnt)
			notMounted(t, mnt)

			run(t, "composefs", "mount", "--store", store, "--digest", digest, image, mnt)
			defer func() {
				run(t, "composefs", "umount", mnt)
				notMounted(t, mnt)
			}()
			var mounts []struct{ Target, Digest, Verity string }
			if err := json.Unmarshal([]byte(run(t, "composefs", "mounts", "--json")), &mounts); err != nil {
				t.Fatal(err)
			}
			if len(mounts) != 1 || mounts[0].Target != mnt || mounts[0].Digest != digest || mounts[0].Verity != "require" {
				t.Errorf("mounts lists %+v", mounts)
			}
			dropCaches(t)
			if got, err := os.ReadFile(mnt + "/file"); err != nil || !bytes.Equal(got, content) {
				t.Errorf("file: %d bytes, %v", len(got), err)
			}
			flipOnDevice(t, []byte(t.Name()+" block 4:"))
			if got, err := os.ReadFile(mnt + "/file"); !errors.Is(err, unix.EIO) || !bytes.HasPrefix(content, got) {
				t.Errorf("changed file: %d bytes, %v; want right ones and then EIO", len(got), err)
			}
		})
	}
}

func TestExitCodeOfAnotherDigest(t *testing.T) {
	s := seal(t)
	_, _, err := try("composefs", "mount", "--store", s.store, "--digest", strings.Repeat("ab", 32), s.image, s.mnt)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("mount: %v, want exit code 3", err)
	}
}

func TestBuildRequiresVerityWhereItIsImpossible(t *testing.T) {
	dir, source := onTmpfs(t), t.TempDir()
	writeFile(t, source+"/file", blocks(t.Name(), 2))
	refused(t, "fs-verity", "composefs", "build", "--verity=require", "--store", dir+"/store", source, dir+"/image")
	if _, err := os.Stat(dir + "/image"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an image is left behind: %v", err)
	}
}

func TestDoctorFindsVerity(t *testing.T) {
	out := run(t, "composefs", "doctor", workDir(t))
	for _, line := range []string{
		"yes  The kernel can check objects by fs-verity",
		"yes  Files here can have fs-verity",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("doctor does not say %q:\n%s", line, out)
		}
	}
}
