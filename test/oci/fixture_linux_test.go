package oci

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-composefs/composefs/internal/testenv"
)

// program returns the path of one of the others' programs.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		testenv.Missing(t, "containers", name+" is not installed (see the Makefile's target deps)")
	}
	return path
}

// run runs a program and returns what it prints.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program(t, name), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, &stderr)
	}
	return strings.TrimSpace(string(out))
}

var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "composefs-oci")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "composefs")
	cmd := exec.Command("go", "build", "-o", path, "../../cmd/composefs")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// user is somebody with a repository.
type user struct {
	t    testing.TB
	repo string
}

func newUser(t testing.TB) *user {
	t.Helper()
	u := &user{t, filepath.Join(t.TempDir(), "repo")}
	u.run("init", "--insecure")
	return u
}

// command is one command line of composefs.
func (u *user) command(args ...string) *exec.Cmd {
	u.t.Helper()
	path, err := binary()
	if err != nil {
		u.t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "COMPOSEFS_REPO="+u.repo)
	return cmd
}

// run runs composefs and returns what it prints.
func (u *user) run(args ...string) string {
	u.t.Helper()
	cmd := u.command(args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		u.t.Fatalf("composefs %s: %v\n%s%s", strings.Join(args, " "), err, out, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// fails runs composefs, which must end with an exit code and say something.
func (u *user) fails(code int, says string, args ...string) {
	u.t.Helper()
	out, err := u.command(args...).CombinedOutput()
	var got int
	if err != nil {
		got = -1
		if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Output returns it as it is
			got = exit.ExitCode()
		}
	}
	if got != code || !strings.Contains(string(out), says) {
		u.t.Errorf("composefs %s: exit code %d, want %d and %q:\n%s", strings.Join(args, " "), got, code, says, out)
	}
}

// registry is Debian's docker-registry.
type registry struct{ host string }

// startRegistry starts one with more lines of configuration, which end it with the test.
func startRegistry(t testing.TB, scheme, more string) *registry {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s/data}}\nlog: {level: error}\nhttp:\n  addr: %s\n%s", dir, host, more)
	if err := os.WriteFile(dir+"/config.yml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program(t, "docker-registry"), "serve", dir+"/config.yml")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 100 {
		conn, err := net.DialTimeout("tcp", host, time.Second)
		if err == nil {
			conn.Close()
			return &registry{host}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("docker-registry does not answer: %s", &log)
	return nil
}

// layouts has the layout of debianLayout, which takes a while to make.
var layouts struct {
	sync.Mutex
	path string
}

// debianLayout returns an OCI layout with an image, "debian", of a real Debian and two layers on top of it. Nobody
// changes it.
func debianLayout(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("takes a minute, and what it runs are programs")
	}
	testenv.Root(t)
	program(t, "mmdebstrap")
	layouts.Lock()
	defer layouts.Unlock()
	if layouts.path != "" {
		return layouts.path
	}
	images := os.Getenv("COMPOSEFS_IMAGES")
	if images == "" {
		images = "../../build/images"
	}
	if out, err := exec.Command("../../scripts/images.sh", images).CombinedOutput(); err != nil {
		t.Fatalf("images.sh: %v\n%s", err, out)
	}
	if _, err := binary(); err != nil {
		t.Fatal(err)
	}
	path, _ := binary()
	layout := filepath.Join(filepath.Dir(path), "layout")
	run(t, "umoci", "init", "--layout", layout)
	image := layout + ":debian"
	run(t, "umoci", "new", "--image", image)
	for _, tar := range []string{filepath.Join(images, "base.tar"), changes(t), moreChanges(t)} {
		run(t, "umoci", "raw", "add-layer", "--image", image, tar)
	}
	run(t, "umoci", "config", "--image", image, "--config.cmd", "/bin/sh", "--config.env", "LAYERED=yes")
	layouts.path = layout
	return layout
}
