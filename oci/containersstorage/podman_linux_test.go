package containersstorage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/oci/containersstorage"
	"github.com/go-composefs/composefs/oci/manifest"
)

// podman is a storage that podman makes.
type podman struct {
	t      *testing.T
	dir    string
	driver string
}

func newPodman(t *testing.T, driver string) *podman {
	t.Helper()
	testenv.Root(t)
	testenv.Peer(t, "podman")
	// Unix sockets of podman have short paths.
	dir, err := os.MkdirTemp("", "pod")
	if err != nil {
		t.Fatal(err)
	}
	p := &podman{t, dir, driver}
	t.Cleanup(func() {
		_ = unix.Unmount(p.root()+"/overlay", unix.MNT_DETACH)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *podman) root() string { return p.dir + "/root" }

func (p *podman) run(args ...string) string {
	p.t.Helper()
	return p.output(p.command(args...))
}

func (p *podman) command(args ...string) *exec.Cmd {
	args = append([]string{"--root", p.root(), "--runroot", p.dir + "/run", "--tmpdir", p.dir + "/tmp", "--storage-driver", p.driver}, args...)
	return exec.CommandContext(p.t.Context(), "podman", args...)
}

func (p *podman) output(cmd *exec.Cmd) string {
	p.t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr, cmd.Dir = &stderr, p.dir
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out))
}

func (p *podman) write(name string, data []byte) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// fill makes images in each way that leads into the storage, and returns their names.
func (p *podman) fill() []string {
	p.t.Helper()
	big := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	archive := makeTar(p.t, file("etc/a", "hello world"), file("big", string(big)), file("empty", ""),
		symlink("lib", "usr/lib"), file("usr/lib/so", "so"), file("lib/through-a-link", "x"), file("ünï", "code"),
		file(strings.Repeat("long/", 50)+"name", "z"))
	p.run("import", p.write("l.tar", append(archive, make([]byte, 5000)...)), "imported:1")

	p.write("Containerfile", []byte("FROM scratch\nADD l.tar /\nCOPY new /etc/new\nENV a=b\nCOPY new /etc/a\n"))
	p.write("new", []byte("something new"))
	p.run("build", "--isolation", "chroot", "--layers", "--tag", "built:2", ".")

	p.run("save", "--format", "docker-archive", "--output", p.dir+"/saved.tar", "localhost/built:2")
	p.run("save", "--format", "oci-dir", "--output", p.dir+"/layout", "localhost/built:2")
	p.run("rmi", "--all", "--force")
	p.run("import", p.dir+"/l.tar", "imported:1")
	p.run("load", "--input", p.dir+"/saved.tar")
	names := []string{"imported:1", "built:2"}
	if _, err := exec.LookPath("skopeo"); err == nil {
		store := fmt.Sprintf("containers-storage:[%s@%s+%s/run]", p.driver, p.root(), p.dir)
		p.output(exec.CommandContext(p.t.Context(), "skopeo", "copy", "oci:"+p.dir+"/layout", store+"docker.io/library/copied:3"))
		names = append(names, "copied:3")
	}
	return names
}

func TestPodman(t *testing.T) {
	for _, driver := range []string{"overlay", "vfs"} {
		t.Run(driver, func(t *testing.T) {
			p := newPodman(t, driver)
			for _, name := range p.fill() {
				i, err := containersstorage.Open(t.Context(), name, containersstorage.Options{Root: p.root()})
				if err != nil {
					t.Fatal(err)
				}
				defer i.Close()
				if id := p.run("image", "inspect", "--format", "{{.Id}}", name); id != i.ID {
					t.Errorf("%s: image %s, podman says %s", name, i.ID, id)
				}
				raw, mediaType := i.Manifest()
				if want := p.run("image", "inspect", "--format", "{{.ManifestType}}", name); mediaType != want {
					t.Errorf("%s: manifest %s of type %s, podman says %s", name, raw, mediaType, want)
				}
				p.checkDigests(name)
				if len(i.Layers()) == 0 {
					t.Errorf("%s: no layers", name)
				}
				for n, l := range i.Layers() {
					whole, err := readAll(t, l)
					if err != nil || digest.FromBytes(whole) != l.DiffID || int64(len(whole)) != l.Size {
						t.Errorf("%s: layer %d has %d bytes of %d, error %v", name, n, len(whole), l.Size, err)
					}
					parts, files, err := joined(t, l)
					if err != nil || !bytes.Equal(whole, parts) || len(files) == 0 {
						t.Errorf("%s: layer %d in segments: %d bytes, %d files, error %v", name, n, len(parts), len(files), err)
					}
				}
			}
		})
	}
}

// checkDigests opens an image by each of its digests: podman has several manifests of one image, which differ in
// their form.
func (p *podman) checkDigests(name string) {
	p.t.Helper()
	for _, at := range strings.Fields(p.run("image", "inspect", "--format", "{{range .RepoDigests}}{{.}} {{end}}", name)) {
		_, d, _ := strings.Cut(at, "@")
		i, err := containersstorage.Open(p.t.Context(), name+"@"+d, containersstorage.Options{Root: p.root()})
		if err != nil {
			p.t.Error(err)
			continue
		}
		if raw, mediaType := i.Manifest(); digest.FromBytes(raw).String() != d || !manifest.IsManifest(mediaType) {
			p.t.Errorf("%s@%s: manifest %s of type %s", name, d, digest.FromBytes(raw), mediaType)
		}
		_ = i.Close()
	}
}

// The configuration that podman itself would read leads to the same place.
func TestPodmanByConfiguration(t *testing.T) {
	configure(t)
	p := newPodman(t, "overlay")
	p.run("import", p.write("l.tar", makeTar(t, file("a", "a"))), "imported:1")
	conf := p.write("storage.conf", fmt.Appendf(nil, "[storage]\ndriver = \"overlay\"\ngraphroot = %q\nrunroot = %q\n", p.root(), p.dir+"/run"))
	t.Setenv("CONTAINERS_STORAGE_CONF", conf)
	want := p.output(exec.CommandContext(t.Context(), "podman", "image", "inspect", "--format", "{{.Id}}", "imported:1"))
	i, err := containersstorage.Open(t.Context(), "imported:1", containersstorage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if i.ID != want {
		t.Errorf("image %s, podman says %s", i.ID, want)
	}
}

// podman has to wait while a layer is read, and may go on after that; and so the other way round.
func TestLocks(t *testing.T) {
	g := newGraph(t)
	g.simple("localhost/a:latest")
	i := open(t, g, "a")
	r, err := i.Layers()[0].Reader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"images", "layers"} {
		if got, want := g.lockedByOthers(kind), kind == "layers"; got != want {
			t.Errorf("%s are locked while a layer is read: %v", kind, got)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if g.lockedByOthers("layers") {
		t.Error("layers are locked after that")
	}
	for _, kind := range []string{"images", "layers"} {
		f, err := os.OpenFile(g.path("overlay-"+kind+"/"+kind+".lock"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
		if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := containersstorage.Open(ctx, "a", containersstorage.Options{Root: g.root}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s.lock is not heeded: %v", kind, err)
		}
		cancel()
		time.AfterFunc(50*time.Millisecond, func() { _ = f.Close() })
		again, err := containersstorage.Open(t.Context(), "a", containersstorage.Options{Root: g.root})
		if err != nil {
			t.Errorf("after %s.lock is free: %v", kind, err)
			continue
		}
		_ = again.Close()
	}
}

// lockedByOthers says whether a writer would have to wait, by a lock of the kind that podman takes.
func (g *graph) lockedByOthers(kind string) bool {
	g.t.Helper()
	f, err := os.OpenFile(g.path("overlay-"+kind+"/"+kind+".lock"), os.O_RDWR, 0)
	if err != nil {
		g.t.Fatal(err)
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lock)
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES)
}

// Without lock files, and where nothing can be written, a storage can be read all the same.
func TestNoLockFiles(t *testing.T) {
	g := newGraph(t)
	archive := g.simple("localhost/a:latest")
	g.must(os.Remove(g.path("overlay-images/images.lock")))
	g.must(os.Remove(g.path("overlay-layers/layers.lock")))
	if got, err := readAll(t, open(t, g, "a").Layers()[0]); err != nil || !bytes.Equal(got, archive) {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
	if _, err := os.Stat(g.path("overlay-layers/layers.lock")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a lock file was made")
	}
}

// An ordinary user cannot read what belongs to the users of the containers, and is told what to do.
func TestRootlessWithoutUnshare(t *testing.T) {
	testenv.Root(t)
	g := newGraph(t)
	g.simple("localhost/a:latest")
	for dir := g.root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		g.must(os.Chmod(dir, 0o755))
	}
	i := open(t, g, "a")
	id := i.Layers()[0].ID
	g.must(os.Chmod(g.path("overlay/"+id+"/diff/etc/a"), 0o600))

	runtime.LockOSThread() // and not unlocked: the thread ends with the test
	if err := unix.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(t, i.Layers()[0]); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "podman unshare") {
		t.Errorf("error %v", err)
	}
	_ = unix.Setfsuid(0)
	g.must(os.Chmod(g.root, 0o700))
	_ = unix.Setfsuid(65534)
	_, err := containersstorage.Open(t.Context(), "a", containersstorage.Options{Root: g.root})
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "podman unshare") {
		t.Errorf("error %v", err)
	}
	_ = unix.Setfsuid(0)
}

// podman does not remove a layer that is being read.
func TestPodmanWaits(t *testing.T) {
	p := newPodman(t, "overlay")
	archive := makeTar(t, file("a", strings.Repeat("content", 100_000)))
	p.run("import", p.write("l.tar", archive), "imported:1")
	i, err := containersstorage.Open(t.Context(), "imported:1", containersstorage.Options{Root: p.root()})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	r, err := i.Layers()[0].Reader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	removed := make(chan error, 1)
	cmd := p.command("rmi", "imported:1")
	go func() { removed <- cmd.Run() }()
	select {
	case err := <-removed:
		t.Errorf("it has not waited; error %v", err)
	case <-time.After(time.Second):
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, archive) {
		t.Errorf("%d bytes of %d, error %v", len(got), len(archive), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := <-removed; err != nil {
		t.Errorf("podman rmi: %v", err)
	}
	if _, err := containersstorage.Open(t.Context(), "imported:1", containersstorage.Options{Root: p.root()}); !errors.Is(err, containersstorage.ErrNotFound) {
		t.Errorf("after that: %v", err)
	}
}
