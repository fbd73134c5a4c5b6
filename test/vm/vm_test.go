// Package vm runs tests with real fs-verity: it boots Debian kernels in QEMU and runs the test
// binaries of the package guest, and of those packages that use the kernel, in them: as root, on
// an ext4 that has the verity feature.
package vm

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
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

// needVM makes the test run only where a virtual machine does.
func needVM(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		testenv.Missing(t, "vm", "the guest is linux/amd64")
	}
	for _, program := range []string{"qemu-system-x86_64", "busybox", "cpio", "apt-get"} {
		if _, err := exec.LookPath(program); err != nil {
			testenv.Missing(t, "vm", program+" is not installed (make deps)")
		}
	}
}

func TestInVirtualMachine(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	needVM(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "composefs")
	build(t, "build", "-o", program, "../../cmd/composefs")
	add := []string{"-a", program + ":bin/composefs"}
	for _, pkg := range packages {
		binary := filepath.Join(dir, filepath.Base(pkg)+".test")
		build(t, "test", "-c", "-tags", "vmguest", "-o", binary, pkg)
		add = append(add, "-a", binary+":tests/"+filepath.Base(binary))
	}
	script := filepath.Join(dir, "run-tests")
	if err := os.WriteFile(script, []byte(runTests), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, kernel := range kernels {
		t.Run(kernel.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			cmd := exec.Command("../../scripts/vmtest.sh", slices.Concat([]string{"-k", kernel.source, "-t", "600"}, add, []string{"--", script})...)
			cmd.Stdout, cmd.Stderr = &out, &out
			err := cmd.Run()
			t.Logf("%s", &out)
			var exit *exec.ExitError
			switch {
			case errors.As(err, &exit) && exit.ExitCode() == 125:
				t.Fatal("the guest did not run")
			case err != nil:
				t.Fatalf("in the guest: %v", err)
			}
			if passed := strings.Count(out.String(), "\nPASS\n"); passed != len(packages) {
				t.Errorf("%d packages passed in the guest, want %d", passed, len(packages))
			}
			for line := range strings.Lines(out.String()) {
				if strings.Contains(line, "--- SKIP") {
					t.Errorf("skipped in the guest, which has everything: %s", line)
				}
			}
		})
	}
}

// packages are those whose tests the guest runs: its own, and those that are about the kernel, on
// a filesystem that has verity. Our program answers for mkcomposefs there, and so the one test
// of what the peer's helper mounted is left out.
var packages = []string{"./guest", "../../mount"}

const runTests = `#!/bin/sh
for name in mkcomposefs composefs-info mount.composefs; do ln -s composefs /vm/bin/$name; done
mkdir /vm/tmp
export COMPOSEFS_REQUIRE=root,peers
failed=0
for tests in /vm/tests/*; do
	case $tests in */guest.test) TMPDIR=/tmp ;; *) TMPDIR=/vm/tmp ;; esac
	TMPDIR=$TMPDIR $tests -test.v -test.skip ReferenceHelper || failed=1
done
exit $failed
`

// build runs the go command for a static binary.
func build(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
