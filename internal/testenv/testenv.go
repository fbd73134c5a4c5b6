// Package testenv tells tests what the machine offers. A test that needs more than a Go
// toolchain asks here: where it is missing the test is skipped with a reason, and fails
// instead if the environment variable COMPOSEFS_REQUIRE lists the part, so that a gate that
// installed everything cannot pass by skipping.
package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Missing skips the test because part of the environment is absent, or fails it if
// COMPOSEFS_REQUIRE names the part: root, peers, cfsctl, containers, mkfs, fsck, vm, browser, rootless
// or shared.
func Missing(t testing.TB, part, why string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("COMPOSEFS_REQUIRE"), ","), part) {
		t.Fatalf("%s is required here: %s", part, why)
	}
	t.Skipf("needs %s: %s", part, why)
}

// Root makes the test run only as root in the initial user namespace's terms: uid 0.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "root", "not running as root")
	}
}

// Peer returns the path of a program of another implementation, such as "mkcomposefs" or
// "fsck.erofs": from $COMPOSEFS_PEERS/bin, else from PATH.
func Peer(t testing.TB, program string) string {
	t.Helper()
	if dir := os.Getenv("COMPOSEFS_PEERS"); dir != "" {
		path := filepath.Join(dir, "bin", program)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	part := "peers"
	switch program {
	case "mkfs.erofs":
		part = "mkfs"
	case "fsck.erofs", "dump.erofs":
		part = "fsck"
	case "cfsctl":
		part = "cfsctl"
	case "podman", "skopeo", "docker-registry", "umoci":
		part = "containers"
	}
	Missing(t, part, program+" is not installed (see the Makefile's target peers)")
	return ""
}

// Browser returns the path of a Chromium.
func Browser(t testing.TB) string {
	t.Helper()
	for _, program := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(program); err == nil {
			return path
		}
	}
	Missing(t, "browser", "no Chromium is installed (see the Makefile's target deps)")
	return ""
}

// Shared returns a path below the directory of shared test data that lies beside a checkout,
// named by $COMPOSEFS_SHARED, else ../shared from the repository's root. The data is the
// peers' and is not part of the repository.
func Shared(t testing.TB, path string) string {
	t.Helper()
	dir := os.Getenv("COMPOSEFS_SHARED")
	if dir == "" {
		dir = filepath.Join(repoRoot(t), "..", "shared")
	}
	path = filepath.Join(dir, path)
	if _, err := os.Stat(path); err != nil {
		Missing(t, "shared", path+" is not there")
	}
	return path
}

// repoRoot is the directory of go.mod above the test's own directory.
func repoRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = up
	}
}
