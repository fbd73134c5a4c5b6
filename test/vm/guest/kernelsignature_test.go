//go:build vmguest

package guest

import (
	"archive/tar"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
	ociseal "github.com/go-composefs/composefs/oci/seal"
)

// builtin asks the kernel for the signature that a file has, without any code of ours.
func builtin(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 20000)
	// struct fsverity_read_metadata_arg of include/uapi/linux/fsverity.h
	arg := [5]uint64{unix.FS_VERITY_METADATA_TYPE_SIGNATURE, 0, uint64(len(buf)), uint64(uintptr(unsafe.Pointer(&buf[0]))), 0}
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.FS_IOC_READ_VERITY_METADATA, uintptr(unsafe.Pointer(&arg)))
	switch errno {
	case 0:
		return buf[:n]
	case unix.ENODATA:
		return nil
	}
	t.Fatalf("read the signature of %s: %v", path, errno)
	return nil
}

// release is somebody who signs, with files for the command line.
type release struct {
	certified
	keyFile, certFile string
}

func newRelease(t *testing.T, name string) release {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := release{certified: certify(t, name, key, nil)}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r.keyFile, r.certFile = dir+"/key.pem", dir+"/cert.pem"
	for file, block := range map[string]*pem.Block{
		r.keyFile: {Type: "PRIVATE KEY", Bytes: der}, r.certFile: {Type: "CERTIFICATE", Bytes: r.cert.Raw},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// writeLayout makes a layout with an image of one file.
func writeLayout(t *testing.T, dir string, content []byte) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Name: "usr/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "usr/file", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))},
	} {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.AppendLayers(img, static.NewLayer(b.Bytes(), types.OCIUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	err = l.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "v1"}))
	if err != nil {
		t.Fatal(err)
	}
}

// says runs a command and looks for words in what it tells on both outputs.
func says(t *testing.T, words string, argv ...string) {
	t.Helper()
	stdout, stderr, err := try(argv...)
	if err != nil || !strings.Contains(stdout+stderr, words) {
		t.Errorf("%s: %v, %q%q; want %q in it", strings.Join(argv, " "), err, stdout, stderr, words)
	}
}

// TestSignatureOfASealIsTheKernels signs an image, carries it to another repository, and looks what the
// kernel does with the object of the composefs image.
func TestSignatureOfASealIsTheKernels(t *testing.T) {
	dir := workDir(t)
	trusted, also, stranger := newRelease(t, "trusted"), newRelease(t, "also trusted"), newRelease(t, "stranger")
	for _, r := range []release{trusted, also} {
		signer{cert: r.cert}.trust(t)
	}
	content := blocks(t.Name(), 5)
	writeLayout(t, dir+"/layout", content)
	repo, second, mnt := dir+"/repo", dir+"/second", dir+"/mnt"
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	sign := func(by release) []string {
		return []string{"composefs", "sign", "--repo", repo, "--key", by.keyFile, "--cert", by.certFile, "app"}
	}
	run(t, "composefs", "init", "--repo", repo)
	digest := strings.TrimSpace(run(t, "composefs", "pull", "--repo", repo, "oci:"+dir+"/layout:v1", "app"))
	image := filepath.Join(repo, "objects", digest[:2], digest[2:])
	if got := builtin(t, image); got != nil {
		t.Errorf("a signature before anybody signed: %d bytes", len(got))
	}
	says(t, "signature for the kernel: none", "composefs", "verify", "--repo", repo, "app")

	before, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	says(t, "signature for the kernel: key not trusted", sign(stranger)...)
	if after, err := os.Stat(image); err != nil || !os.SameFile(before, after) {
		t.Errorf("the kernel refused the signature, and the object is another one: %v", err)
	}

	says(t, "signature for the kernel: applied", sign(trusted)...)
	signed := builtin(t, image)
	if len(signed) == 0 || measure(t, image) != digest {
		t.Fatalf("signed, and the kernel has %d bytes of a signature and measures %s", len(signed), measure(t, image))
	}
	says(t, "signature for the kernel: applied", "composefs", "verify", "--repo", repo, "--cert", trusted.certFile, "app")
	run(t, "composefs", "fsck", "--repo", repo)

	// The image is mounted with what the kernel enforces, and stays the same file meanwhile.
	run(t, "composefs", "mount", "--repo", repo, "app", mnt)
	if got, err := os.ReadFile(mnt + "/usr/file"); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	says(t, "signature for the kernel: in use", sign(also)...)
	if got := builtin(t, image); !bytes.Equal(got, signed) {
		t.Error("it has another signature while it is mounted")
	}
	run(t, "composefs", "umount", mnt)

	// A policy that trusts one of the three.
	writeFile(t, dir+"/policy.toml", []byte("[default]\naction = \"signature\"\ncertificates = [\""+trusted.certFile+"\"]\n"))
	run(t, "composefs", "init", "--repo", second)
	says(t, "; signature for the kernel: applied", "composefs", "copy", "--repo", second, "--from", repo, "--policy", dir+"/policy.toml", "app")
	copied := filepath.Join(second, "objects", digest[:2], digest[2:])
	if got := builtin(t, copied); !bytes.Equal(got, signed) {
		t.Errorf("the copy has a signature of %d bytes, the original one of %d", len(got), len(signed))
	}
	first, err := os.Stat(copied)
	if err != nil {
		t.Fatal(err)
	}
	says(t, `"kernel_signature": "applied"`, "composefs", "copy", "--json", "--repo", second, "--from", repo, "--policy", dir+"/policy.toml", "app")
	if again, err := os.Stat(copied); err != nil || !os.SameFile(first, again) {
		t.Errorf("nothing has changed, and the object is another one: %v", err)
	}
	run(t, "composefs", "mount", "--repo", second, "app", mnt)
	run(t, "composefs", "umount", mnt)

	requireSignatures(t, second, copied, objectOf(t, second, content), digest, stranger)
}

// TestImageWhoseKeyIsGoneIsNotOpened takes the key out of the keyring after the image was signed with it.
func TestImageWhoseKeyIsGoneIsNotOpened(t *testing.T) {
	dir := workDir(t)
	by := newRelease(t, "signer")
	add := func() int {
		t.Helper()
		key, err := unix.AddKey("asymmetric", "", by.cert.Raw, keyring(t))
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	key := add()
	writeLayout(t, dir+"/layout", blocks(t.Name(), 5))
	if err := os.Mkdir(dir+"/mnt", 0o755); err != nil {
		t.Fatal(err)
	}
	repo := dir + "/repo"
	run(t, "composefs", "init", "--repo", repo)
	digest := strings.TrimSpace(run(t, "composefs", "pull", "--repo", repo, "oci:"+dir+"/layout:v1", "app"))
	says(t, "signature for the kernel: applied", "composefs", "sign", "--repo", repo, "--key", by.keyFile, "--cert", by.certFile, "app")
	if _, err := unix.KeyctlInt(unix.KEYCTL_UNLINK, key, keyring(t), 0, 0); err != nil {
		t.Fatal(err)
	}
	dropCaches(t)
	image := filepath.Join(repo, "objects", digest[:2], digest[2:])
	if f, err := os.Open(image); !errors.Is(fsverity.SignatureError(err), fsverity.ErrSignatureRefused) {
		f.Close()
		t.Errorf("open the image: %v, want ErrSignatureRefused", err)
	}
	says(t, "signature for the kernel: key not trusted", "composefs", "verify", "--quick", "--repo", repo, "app")
	refused(t, "key", "composefs", "mount", "--repo", repo, "app", dir+"/mnt")
	refused(t, "key", "composefs", "gc", "--repo", repo)
	if _, stderr, err := try("composefs", "fsck", "--repair", "--repo", repo); err == nil {
		t.Errorf("fsck passes: %s", stderr)
	}
	add()
	run(t, "composefs", "mount", "--repo", repo, "app", dir+"/mnt")
	run(t, "composefs", "umount", dir+"/mnt")
	says(t, "signature for the kernel: applied", "composefs", "verify", "--repo", repo, "app")
}

// requireSignatures has the kernel refuse every file with fs-verity that nobody signed.
func requireSignatures(t *testing.T, repo, image, unsigned, hex string, stranger release) {
	t.Helper()
	const sysctl = "/proc/sys/fs/verity/require_signatures"
	if err := os.WriteFile(sysctl, []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.WriteFile(sysctl, []byte("0"), 0o644); err != nil {
			t.Error(err)
		}
	}()
	dropCaches(t)
	if f, err := os.Open(unsigned); !errors.Is(err, unix.EPERM) {
		f.Close()
		t.Errorf("open an object that nobody signed: %v, want EPERM", err)
	}
	had := builtin(t, image)
	d := digest(t, hex)
	s, err := ociseal.NewSigner(stranger.key, []*x509.Certificate{stranger.cert}, ociseal.SignerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	signature, err := s.Sign(d)
	if err != nil {
		t.Fatal(err)
	}
	store := openStore(t, repo+"/objects", objects.Options{})
	for _, wrong := range [][]byte{signature, []byte("garbage"), had[:len(had)-1]} {
		if err := store.Sign(t.Context(), d, wrong, objects.SignOptions{}); !errors.Is(err, fsverity.ErrSignatureRefused) {
			t.Errorf("sign with %d bytes: %v, want ErrSignatureRefused", len(wrong), err)
		}
	}
	if got := builtin(t, image); !bytes.Equal(got, had) || measure(t, image) != hex {
		t.Error("the object is another one afterwards")
	}
	if err := store.Sign(t.Context(), d, had, objects.SignOptions{}); err != nil {
		t.Errorf("sign with what it has: %v", err)
	}
}
