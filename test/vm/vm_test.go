// Package vm runs tests with real fs-verity: it boots Debian kernels in QEMU and runs the test
// binary of the package guest in them, as root, on an ext4 that has the verity feature.
package vm

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/internal/testenv"
)

// kernels are what the guest boots: one that knows all of the mount API that is used, and one
// that has neither layers by descriptor nor data-only layers without metacopy=on.
var kernels = []struct{ name, source string }{
	{"new", "trixie-backports/linux-image-cloud-amd64"},
	{"6.12", "trixie/linux-image-cloud-amd64"},
}

func TestInVirtualMachine(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		testenv.Missing(t, "vm", "the guest is linux/amd64")
	}
	for _, program := range []string{"qemu-system-x86_64", "busybox", "cpio", "apt-get"} {
		if _, err := exec.LookPath(program); err != nil {
			testenv.Missing(t, "vm", program+" is not installed (make deps)")
		}
	}
	dir := t.TempDir()
	tests, program := filepath.Join(dir, "guest.test"), filepath.Join(dir, "composefs")
	build(t, "test", "-c", "-tags", "vmguest", "-o", tests, "./guest")
	build(t, "build", "-o", program, "../../cmd/composefs")

	for _, kernel := range kernels {
		t.Run(kernel.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			cmd := exec.Command("../../scripts/vmtest.sh", "-k", kernel.source, "-t", "300",
				"-a", program+":bin/composefs", "--", tests, "-test.v")
			cmd.Stdout, cmd.Stderr = &out, &out
			err := cmd.Run()
			t.Logf("%s", &out)
			var exit *exec.ExitError
			switch {
			case errors.As(err, &exit) && exit.ExitCode() == 125:
				t.Fatal("the guest did not run")
			case err != nil:
				t.Fatalf("in the guest: %v", err)
			case strings.Contains(out.String(), "--- SKIP"):
				t.Error("a test was skipped in the guest, which has everything")
			case !strings.HasSuffix(strings.TrimSpace(out.String()), "PASS"):
				t.Error("the guest's output does not end in PASS")
			}
		})
	}
}

// build runs the go command for a static binary.
func build(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
