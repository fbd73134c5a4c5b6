package oci

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/tree"
)

// scan reads a directory as a tree.
func scan(t testing.TB, path string) *tree.Inode {
	t.Helper()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	root, err := tree.Scan(t.Context(), dir, tree.ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// wantSameTree compares what two programs made of an image. The times of directories are left out: whoever
// unpacks layers changes those of directories without entries. So is the root, of which no layer says anything.
func wantSameTree(t testing.TB, want, got *tree.Inode) {
	t.Helper()
	n := 0
	for change := range tree.Compare(want, got) {
		only := change.Kind == tree.Changed && len(change.Fields) == 1 && change.Fields[0] == tree.FieldMtime
		if only && change.New.IsDir() || change.Path == "/" {
			continue
		}
		t.Errorf("%v", change)
		if n++; n > 20 {
			t.Fatal("and more")
		}
	}
}

func TestPulledImageIsWhatUmociUnpacks(t *testing.T) {
	layout := debianLayout(t)
	reg := startRegistry(t, "http", "")
	run(t, "skopeo", "copy", "--quiet", "--dest-tls-verify=false", "oci:"+layout+":debian", "docker://"+reg.host+"/org/debian:1")
	u := newUser(t)
	u.run("pull", "--plain-http", "--transform", "none", reg.host+"/org/debian:1", "debian")
	mnt := t.TempDir()
	u.run("mount", "debian", mnt)
	t.Cleanup(func() { u.run("umount", mnt) })
	bundle := filepath.Join(t.TempDir(), "bundle")
	run(t, "umoci", "unpack", "--image", layout+":debian", bundle)
	wantSameTree(t, scan(t, bundle+"/rootfs"), scan(t, mnt))
	u.run("fsck")
	u.run("verify", "debian")
}

func TestPushedImageIsWhatSkopeoPulled(t *testing.T) {
	layout := debianLayout(t)
	reg := startRegistry(t, "http", "")
	u := newUser(t)
	u.run("pull", "oci:"+layout+":debian", "debian")
	want := run(t, "skopeo", "inspect", "--raw", "oci:"+layout+":debian")
	var pushed struct {
		Original bool   `json:"original"`
		Manifest string `json:"manifest"`
	}
	if err := json.Unmarshal([]byte(u.run("push", "--plain-http", "--json", "debian", reg.host+"/debian:1")), &pushed); err != nil {
		t.Fatal(err)
	}
	got := run(t, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+reg.host+"/debian:1")
	if pushed.Original && got != want {
		t.Errorf("manifest\n%s\nwant\n%s", got, want)
	}
	t.Logf("the original blobs: %v", pushed.Original)
	// Whatever the blobs are, others unpack the same tree.
	back := filepath.Join(t.TempDir(), "back")
	run(t, "skopeo", "copy", "--quiet", "--src-tls-verify=false", "docker://"+reg.host+"/debian:1", "oci:"+back+":debian")
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	run(t, "umoci", "unpack", "--image", layout+":debian", one)
	run(t, "umoci", "unpack", "--image", back+":debian", two)
	wantSameTree(t, scan(t, one+"/rootfs"), scan(t, two+"/rootfs"))
	for _, compression := range []string{"gzip", "zstd", "zstd:chunked"} {
		u.run("push", "--plain-http", "--compression", compression, "debian", reg.host+"/debian:"+compression[:4])
		dir := filepath.Join(t.TempDir(), "dir")
		run(t, "skopeo", "copy", "--quiet", "--src-tls-verify=false", "docker://"+reg.host+"/debian:"+compression[:4], "oci:"+dir+":debian")
		other := newUser(t)
		other.run("pull", "oci:"+dir+":debian", "debian")
		if a, b := other.run("images"), u.run("images"); a != b {
			t.Errorf("compressed with %s it is another image:\n%s\n%s", compression, a, b)
		}
	}
}

func TestArchivesAreThoseOfOthers(t *testing.T) {
	layout := debianLayout(t)
	u := newUser(t)
	want := u.run("pull", "oci:"+layout+":debian", "debian")
	for _, kind := range []string{"oci-archive", "docker-archive"} {
		dir := t.TempDir()
		theirs, ours := kind+":"+dir+"/theirs.tar:debian:1", kind+":"+dir+"/ours.tar:debian:1"
		run(t, "skopeo", "copy", "--quiet", "oci:"+layout+":debian", theirs)
		if got := u.run("pull", theirs, "theirs"); got != want {
			t.Errorf("%s of skopeo: %s, want %s", kind, got, want)
		}
		u.run("export", "debian", ours)
		run(t, "skopeo", "copy", "--quiet", ours, "oci:"+dir+"/back:debian")
		if got := u.run("pull", "oci:"+dir+"/back:debian", "back"); got != want {
			t.Errorf("%s of ours, by skopeo: %s, want %s", kind, got, want)
		}
		u.run("rm", "theirs", "back")
	}
	u.run("gc")
	u.run("fsck")
}

func TestContainerRunsOnAMount(t *testing.T) {
	testenv.Root(t)
	layout := debianLayout(t)
	u := newUser(t)
	u.run("pull", "oci:"+layout+":debian", "debian")
	// crun refuses cgroups of both versions side by side: here nobody needs the second one.
	const hidden = "mount -t tmpfs none /sys/fs/cgroup/unified 2>/dev/null; exec crun --cgroup-manager=disabled \"$@\""
	for runtime, command := range map[string][]string{
		"crun": {"unshare", "-m", "sh", "-c", hidden, "crun"},
		"runc": {"runc"},
	} {
		t.Run(runtime, func(t *testing.T) {
			program(t, runtime)
			bundle := t.TempDir()
			for _, dir := range []string{"rootfs", "upper", "work"} {
				if err := os.Mkdir(filepath.Join(bundle, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			u.run("mount", "--upper", bundle+"/upper", "--work", bundle+"/work", "debian", bundle+"/rootfs")
			defer u.run("umount", bundle+"/rootfs")
			writeSpec(t, bundle, "id -u && ls /usr/bin/capable && echo written > /etc/new && rm /etc/os-release.d && cat /etc/new")
			args := append(command[1:], "run", "--bundle", bundle, "composefs-test-"+filepath.Base(u.repo)+runtime)
			got := run(t, command[0], args...)
			if got != "0\n/usr/bin/capable\nwritten" {
				t.Errorf("the container says %q", got)
			}
			if data, err := os.ReadFile(bundle + "/upper/etc/new"); err != nil || string(data) != "written\n" {
				t.Errorf("the upper directory has %q, %v", data, err)
			}
		})
	}
}

// writeSpec writes config.json of a bundle whose process runs a script.
func writeSpec(t testing.TB, bundle, script string) {
	t.Helper()
	ns := func(kind string) map[string]string { return map[string]string{"type": kind} }
	spec := map[string]any{
		"ociVersion": "1.0.2",
		"process": map[string]any{
			"user": map[string]int{"uid": 0, "gid": 0}, "args": []string{"/bin/sh", "-c", script}, "cwd": "/",
			"env": []string{"PATH=/usr/bin:/bin"},
		},
		"root":   map[string]any{"path": "rootfs"},
		"mounts": []map[string]any{{"destination": "/proc", "type": "proc", "source": "proc"}},
		"linux":  map[string]any{"namespaces": []map[string]string{ns("mount"), ns("pid"), ns("ipc"), ns("uts")}},
	}
	data, err := json.Marshal(spec)
	if err == nil {
		err = os.WriteFile(filepath.Join(bundle, "config.json"), data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
