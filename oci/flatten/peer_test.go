package flatten_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/dumpfile"
	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/oci/flatten"
	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/tree"
)

func run(t *testing.T, program string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "RUST_BACKTRACE=0")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, &stderr)
	}
	return strings.TrimSpace(stdout.String()), nil
}

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
		sum := fmt.Sprintf("%x", sha256.Sum256(b))
		write("blobs/sha256/"+sum, b)
		return fields{"mediaType": "application/vnd.oci.image." + mediaType, "digest": "sha256:" + sum, "size": len(b)}
	}
	var ids []any
	var blobs []fields
	for _, archive := range layers {
		b := blob("layer.v1.tar", archive)
		ids = append(ids, b["digest"])
		blobs = append(blobs, b)
	}
	config := text(fields{"architecture": "amd64", "os": "linux", "rootfs": fields{"type": "layers", "diff_ids": ids}, "config": fields{}})
	manifest := blob("manifest.v1+json", text(fields{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": blob("config.v1+json", config), "layers": blobs,
	}))
	manifest["annotations"] = fields{"org.opencontainers.image.ref.name": "tag"}
	write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	write("index.json", text(fields{"schemaVersion": 2, "manifests": []fields{manifest}}))
	return dir
}

// peer is an image in a repository of cfsctl.
type peer struct{ program, path string }

func pullWithCfsctl(t *testing.T, alg fsverity.Algorithm, layers ...[]byte) (peer, error) {
	t.Helper()
	p := peer{testenv.Peer(t, "cfsctl"), filepath.Join(t.TempDir(), "repo")}
	if _, err := run(t, p.program, "--repo", p.path, "init", "--insecure", "--algorithm", alg.String()); err != nil {
		t.Fatal(err)
	}
	_, err := run(t, p.program, "--repo", p.path, "oci", "pull", "oci:"+ociLayout(t, layers...), "tag")
	return p, err
}

// id returns the digest that cfsctl has for a variant of the image.
func (p peer) id(t *testing.T, format erofs.Format, args ...string) (string, error) {
	t.Helper()
	version := strings.TrimPrefix(strings.ToLower(format.String()), "v")
	return run(t, p.program, append([]string{"--repo", p.path, "--erofs-version", version, "oci", "compute-id", "tag"}, args...)...)
}

var formats = []erofs.Format{erofs.FormatV0, erofs.FormatV1, erofs.FormatV2}

// compareWithCfsctl holds all variants of an image that cfsctl takes against its.
func compareWithCfsctl(t *testing.T, alg fsverity.Algorithm, layers ...[]byte) {
	t.Helper()
	p, err := pullWithCfsctl(t, alg, layers...)
	if err != nil {
		t.Fatal(err)
	}
	p.wantSameStreams(t, alg, layers...)
	m := newMemory(alg)
	for mode, option := range map[flatten.Mode]string{flatten.ModeCanonical: "allowlist-only", flatten.ModeUserXattrs: "keep-user-xattrs"} {
		root, err := m.flatten(t, flatten.Options{}, layers...)
		if err != nil {
			t.Fatal(err)
		}
		flatten.Canonical(root, mode)
		for _, format := range formats {
			want, err := p.id(t, format, "--xattrs", option)
			if err != nil {
				t.Fatal(err)
			}
			if got := imageOf(t, root, format, alg); got != want {
				t.Errorf("%v, %s: %s, cfsctl has %s", format, option, got, want)
				p.showDifference(t, root, "--xattrs", option)
			}
		}
	}
}

// wantSameStreams holds the layers as cfsctl has split them against the same ones split here.
func (p peer) wantSameStreams(t *testing.T, alg fsverity.Algorithm, layers ...[]byte) {
	t.Helper()
	r, err := repository.Open(p.path, repository.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f := flatten.New(flatten.Options{})
	for _, archive := range layers {
		s, err := r.OpenStream(fmt.Sprintf("oci-layer-sha256:%x", sha256.Sum256(archive)))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := f.AddLayer(t.Context(), s.ID, layer.Entries(t.Context(), s.Reader, layer.EntriesOptions{})); err != nil {
			t.Fatal(err)
		}
	}
	want, err := newMemory(alg).flatten(t, flatten.Options{}, layers...)
	if err != nil {
		t.Fatal(err)
	}
	for change := range tree.Compare(want, f.Root()) {
		t.Errorf("streams of cfsctl: %v", change)
	}
}

// showDifference tells what is wrong, and ends the test.
func (p peer) showDifference(t *testing.T, root *tree.Inode, args ...string) {
	t.Helper()
	want, err := run(t, p.program, append([]string{"--repo", p.path, "oci", "dump", "tag"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := dumpfile.Read(strings.NewReader(want+"\n"), dumpfile.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for change := range tree.Compare(theirs, root) {
		t.Logf("%s: %v, cfsctl has %v", change, change.New.Xattrs, change.Old.Xattrs)
	}
	t.FailNow()
}

func TestRandomImagesAreThoseOfCfsctl(t *testing.T) {
	images := uint64(40)
	if testing.Short() {
		images = 5
	}
	for seed := range images {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			alg := fsverity.SHA256
			if seed%3 == 0 {
				alg = fsverity.SHA512
			}
			compareWithCfsctl(t, alg, randomImage(t, seed, false)...)
		})
	}
}
