package fsverity_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
)

func openTemp(t *testing.T, data []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// What the kernel does with fs-verity is shown by the tests in the virtual machine. These are
// about files that have none, which no kernel does differently.
func TestFileWithoutVerity(t *testing.T) {
	data := pattern(5000)
	f := openTemp(t, data)
	if d, err := fsverity.Measure(f); !errors.Is(err, fsverity.ErrNoVerity) {
		t.Errorf("Measure gives %v, %v; want ErrNoVerity", d, err)
	}
	want, err := fsverity.Sum(fsverity.SHA512, data)
	if err != nil {
		t.Fatal(err)
	}
	opts := fsverity.FileOptions{Options: fsverity.Options{Algorithm: fsverity.SHA512}}
	if got, measured, err := fsverity.DigestFile(t.Context(), f, 5000, opts); err != nil || measured || got != want {
		t.Errorf("DigestFile gives %v, measured %v, %v; want %v, computed", got, measured, err, want)
	}
	for _, size := range []int64{4999, 5001} {
		if _, _, err := fsverity.DigestFile(t.Context(), f, size, opts); !errors.Is(err, fsverity.ErrSize) {
			t.Errorf("5000 bytes taken for %d: error is %v", size, err)
		}
	}
}

func TestNoVerityForWhatIsNoFile(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, f := range []*os.File{dir, null} {
		if _, err := fsverity.Measure(f); !errors.Is(err, fsverity.ErrNoVerity) {
			t.Errorf("Measure of %s: %v", f.Name(), err)
		}
		if err := fsverity.Enable(f, fsverity.EnableOptions{}); err == nil {
			t.Errorf("fs-verity is enabled on %s", f.Name())
		}
	}
}

func TestKernelCallsOnAClosedFile(t *testing.T) {
	f := openTemp(t, nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := fsverity.Measure(f); err == nil || errors.Is(err, fsverity.ErrNoVerity) {
		t.Errorf("Measure: %v", err)
	}
	if err := fsverity.Enable(f, fsverity.EnableOptions{}); err == nil || errors.Is(err, fsverity.ErrNoVerity) {
		t.Errorf("Enable: %v", err)
	}
}

func TestEnableChecksItsOptions(t *testing.T) {
	f := openTemp(t, []byte("data"))
	for name, opts := range map[string]fsverity.Options{
		"hash":  {Algorithm: fsverity.Algorithm{Hash: 9, BlockBits: 12}},
		"block": {Algorithm: fsverity.Algorithm{Hash: fsverity.HashSHA256, BlockBits: 13}},
		"salt":  {Salt: make([]byte, 33)},
	} {
		if err := fsverity.Enable(f, fsverity.EnableOptions{Options: opts}); !errors.Is(err, fsverity.ErrAlgorithm) {
			t.Errorf("another %s: error is %v", name, err)
		}
	}
}

// A pipe has no offsets.
func TestFileThatCannotBeReadAt(t *testing.T) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
	defer r.Close()
	defer w.Close()
	if _, err := fsverity.File(t.Context(), r, 10, fsverity.FileOptions{}); !errors.Is(err, unix.ESPIPE) {
		t.Errorf("error is %v", err)
	}
}

func TestFormattedDigest(t *testing.T) {
	for alg, head := range map[fsverity.Algorithm]string{
		fsverity.SHA256: "FSVerity\x01\x00\x20\x00",
		fsverity.SHA512: "FSVerity\x02\x00\x40\x00",
	} {
		d, err := fsverity.Sum(alg, []byte("data"))
		if err != nil {
			t.Fatal(err)
		}
		if got := fsverity.FormattedDigest(d); !bytes.Equal(got, d.Append([]byte(head))) {
			t.Errorf("%v: %q", alg, got)
		}
	}
}

func TestFileWithoutSignature(t *testing.T) {
	f := openTemp(t, pattern(5000))
	got, err := fsverity.Signature(f)
	if got != nil || err != nil && !errors.Is(err, fsverity.ErrNoSignatures) {
		t.Errorf("Signature gives %q, %v", got, err)
	}
}

func TestAnswersAboutSignatures(t *testing.T) {
	for errno, want := range map[error]error{
		unix.ENOKEY:       fsverity.ErrSignatureRefused,
		unix.EKEYREJECTED: fsverity.ErrSignatureRefused,
		unix.EBADMSG:      fsverity.ErrSignatureRefused,
		unix.EMSGSIZE:     fsverity.ErrSignatureRefused,
		unix.ENOPKG:       fsverity.ErrNoSignatures,
		unix.EIO:          nil,
		unix.EPERM:        nil,
	} {
		err := &os.PathError{Op: "open", Path: "x", Err: errno}
		got := fsverity.SignatureError(err)
		refused, none := errors.Is(got, fsverity.ErrSignatureRefused), errors.Is(got, fsverity.ErrNoSignatures)
		if refused != errors.Is(want, fsverity.ErrSignatureRefused) || none != errors.Is(want, fsverity.ErrNoSignatures) || !errors.Is(got, errno) {
			t.Errorf("%v: got %v, want %v", errno, got, want)
		}
		if again := fsverity.SignatureError(got); again.Error() != got.Error() {
			t.Errorf("wrapped twice: %v", again)
		}
	}
}
