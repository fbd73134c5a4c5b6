package repository

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/testenv"
)

// cfsctl is composefs-rs's program, on a repository.
type cfsctl struct{ program, path string }

func newCfsctl(t *testing.T, path string) cfsctl {
	t.Helper()
	return cfsctl{testenv.Peer(t, "cfsctl"), path}
}

// initCfsctl has cfsctl make a repository.
func initCfsctl(t *testing.T, alg fsverity.Algorithm, args ...string) cfsctl {
	t.Helper()
	c := newCfsctl(t, filepath.Join(t.TempDir(), "repo"))
	c.run(t, append([]string{"init", "--insecure", "--algorithm", alg.String()}, args...)...)
	return c
}

// command returns a command of the program, which is still to run.
func (c cfsctl) command(args ...string) *exec.Cmd {
	cmd := exec.Command(c.program, append([]string{"--repo", c.path}, args...)...)
	cmd.Env = append(os.Environ(), "RUST_BACKTRACE=0")
	return cmd
}

// run returns what the program prints, and fails the test if it fails.
func (c cfsctl) run(t *testing.T, args ...string) string {
	t.Helper()
	return c.pipe(t, nil, args...)
}

// pipe is run with standard input.
func (c cfsctl) pipe(t *testing.T, stdin []byte, args ...string) string {
	t.Helper()
	out, err := output(c.command(args...), stdin)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// refuse returns what the program says when it fails, and fails the test if it does not.
func (c cfsctl) refuse(t *testing.T, args ...string) string {
	t.Helper()
	out, err := output(c.command(args...), nil)
	if err == nil {
		t.Fatalf("cfsctl %q succeeds and prints %s", args, out)
	}
	return err.Error()
}

func output(cmd *exec.Cmd, stdin []byte) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, &stderr)
	}
	return stdout.String(), nil
}

// wantSound fails unless cfsctl's fsck finds nothing wrong. It reads all objects of a repository
// without fs-verity.
func (c cfsctl) wantSound(t *testing.T) {
	t.Helper()
	var report struct {
		OK     bool
		Errors []string
	}
	if err := json.Unmarshal([]byte(c.run(t, "fsck", "--json")), &report); err != nil {
		t.Fatal(err)
	}
	if !report.OK || len(report.Errors) > 0 {
		t.Errorf("cfsctl fsck: %+v", report)
	}
}

// images returns the digests of the named images, as cfsctl has them.
func (c cfsctl) images(t *testing.T) map[string]string {
	t.Helper()
	var list struct {
		Images []struct{ Name, Digest string }
	}
	if err := json.Unmarshal([]byte(c.run(t, "images", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	images := map[string]string{}
	for _, i := range list.Images {
		images[i.Name] = i.Digest
	}
	return images
}

// namedImages is the same as this package has it.
func namedImages(t *testing.T, r *Repository) map[string]string {
	t.Helper()
	list, err := r.Images()
	if err != nil {
		t.Fatal(err)
	}
	images := map[string]string{}
	for _, i := range list {
		if i.Err != nil {
			t.Errorf("image %v %v: %v", i.Refs, i.Digest, i.Err)
		}
		for _, name := range i.Refs {
			images[name] = i.Digest.String()
		}
	}
	return images
}

// bothAlgorithms runs a test with each.
func bothAlgorithms(t *testing.T, test func(t *testing.T, alg fsverity.Algorithm)) {
	for _, alg := range []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512} {
		t.Run(alg.Hash.String(), func(t *testing.T) { test(t, alg) })
	}
}

// rootfs makes a directory with something of everything that the user may make.
func rootfs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	rnd := rand.New(rand.NewPCG(5, 5))
	for _, d := range []string{"usr/bin", "etc/empty", "var"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i, size := range []int{0, 1, 63, 64, 65, 4095, 4096, 4097, 300_000} {
		name := filepath.Join(dir, "usr/bin", fmt.Sprint("file", size))
		if err := os.WriteFile(name, noise(rnd, size), fs.FileMode(0o600+i)); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"link": "file1", "long": strings.Repeat("../", 300)} {
		if err := os.Symlink(target, filepath.Join(dir, "usr/bin", link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"usr/bin/hard", "etc/hard"} {
		if err := os.Link(filepath.Join(dir, "usr/bin/file4097"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "var/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"user.a": "same", "user.b": strings.Repeat("v", 1000)} {
		for _, path := range []string{"usr/bin/file1", "usr/bin/file4096", "etc"} {
			if err := unix.Setxattr(filepath.Join(dir, path), name, []byte(value), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func noise(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// tarLayer returns a layer with files on both sides of the limit of inline ones.
func tarLayer(t *testing.T, seed uint64) []byte {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 3))
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, content []byte) {
		h.Size, h.Mode = int64(len(content)), 0o755
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Name: "usr/", Typeflag: tar.TypeDir}, nil)
	for _, size := range []int{0, 64, 65, 512, 4097, 100_000} {
		add(tar.Header{Name: fmt.Sprint("usr/file", size), Typeflag: tar.TypeReg}, noise(rnd, size))
	}
	add(tar.Header{Name: "usr/in-all", Typeflag: tar.TypeReg}, []byte(strings.Repeat("the same in each layer ", 10)))
	add(tar.Header{Name: "usr/link", Typeflag: tar.TypeSymlink, Linkname: "file64"}, nil)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func shaOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// ociLayout makes a directory in which skopeo and its like keep images, with an image of layers.
func ociLayout(t *testing.T, layers ...[]byte) string {
	t.Helper()
	type fields map[string]any
	dir := t.TempDir()
	write := func(path string, b []byte) {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	blob := func(mediaType string, b []byte) fields {
		write("blobs/"+strings.Replace(shaOf(b), ":", "/", 1), b)
		return fields{"mediaType": "application/vnd.oci.image." + mediaType, "digest": shaOf(b), "size": len(b)}
	}
	var ids []string
	var blobs []fields
	for _, layer := range layers {
		ids = append(ids, shaOf(layer))
		blobs = append(blobs, blob("layer.v1.tar", layer))
	}
	config := text(fields{
		"architecture": "amd64", "os": "linux", "rootfs": fields{"type": "layers", "diff_ids": ids},
	})
	manifest := text(fields{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": blob("config.v1+json", config), "layers": blobs,
	})
	write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	write("index.json", text(fields{
		"schemaVersion": 2, "manifests": []fields{blob("manifest.v1+json", manifest)},
	}))
	return dir
}

// fill has cfsctl put one of everything into its repository, with and without names, and returns the
// layers.
func (c cfsctl) fill(t *testing.T) (layers [][]byte) {
	t.Helper()
	dir := rootfs(t)
	c.run(t, "create-image", "--no-propagate-usr-to-root", dir, "plain")
	c.run(t, "create-image", dir, "deep/er/root")
	if err := os.WriteFile(filepath.Join(dir, "usr/bin/garbage"), bytes.Repeat([]byte("soon"), 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	c.run(t, "create-image", dir) // without a name
	plain, err := os.ReadFile(filepath.Join(c.path, "images", c.images(t)["plain"]))
	if err != nil {
		t.Fatal(err)
	}
	c.pipe(t, plain, "import-image", "im/ported")
	for seed := range uint64(4) {
		layers = append(layers, tarLayer(t, seed))
	}
	c.pipe(t, layers[0], "oci", "import-layer", shaOf(layers[0]), "a/layer")
	c.pipe(t, layers[1], "oci", "import-layer", shaOf(layers[1])) // without a name
	c.run(t, "oci", "pull", "oci:"+ociLayout(t, layers[0], layers[2]), "registry.example/app:1")
	c.run(t, "oci", "pull", "oci:"+ociLayout(t, layers[2], layers[3]), "gone")
	c.run(t, "oci", "untag", "gone")
	return layers
}

// copyRepository copies a repository, in which nobody works.
func copyRepository(t *testing.T, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(path)); err != nil {
		t.Fatal(err)
	}
	return to
}

// snapshot returns what is in a directory: of files the content, of links the target.
func snapshot(t *testing.T, path string) map[string]string {
	t.Helper()
	root := os.DirFS(path)
	content := map[string]string{}
	err := fs.WalkDir(root, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch e.Type() {
		case fs.ModeDir:
			content[name] = "directory"
		case fs.ModeSymlink:
			target, err := fs.ReadLink(root, name)
			content[name] = "-> " + target
			return err
		default:
			data, err := fs.ReadFile(root, name)
			content[name] = fmt.Sprintf("%d bytes, %s", len(data), shaOf(data))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// kept is a snapshot of what collectors agree on: objects, images and streams.
func kept(t *testing.T, path string) []string {
	t.Helper()
	var list []string
	for _, name := range slices.Sorted(maps.Keys(snapshot(t, path))) {
		info, err := os.Lstat(filepath.Join(path, name))
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(name, "/")
		if !info.IsDir() && slices.Contains([]string{"objects", "images", "streams"}, first) {
			list = append(list, name)
		}
	}
	return list
}
