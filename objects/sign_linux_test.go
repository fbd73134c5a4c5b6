package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
)

// fakeKernel has fs-verity, by inode, on filesystems that have not. It takes signatures that say "good".
type fakeKernel struct {
	noVerity, unsigned bool
	refuses            error
	files              map[uint64]enabled
}

type enabled struct {
	digest    fsverity.Digest
	signature []byte
}

func inode(f *os.File) uint64 {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		panic(err)
	}
	return st.Ino
}

func (k *fakeKernel) ChecksSignatures() bool { return !k.unsigned }

func (k *fakeKernel) Measure(f *os.File) (fsverity.Digest, error) {
	if k.noVerity {
		return fsverity.Digest{}, fmt.Errorf("%w: %w", fsverity.ErrNoVerity, unix.EOPNOTSUPP)
	}
	e, ok := k.files[inode(f)]
	if !ok {
		return fsverity.Digest{}, fmt.Errorf("%w: %w", fsverity.ErrNoVerity, unix.ENODATA)
	}
	return e.digest, nil
}

func (k *fakeKernel) Signature(f *os.File) ([]byte, error) { return k.files[inode(f)].signature, nil }

func (k *fakeKernel) Enable(f *os.File, opts fsverity.EnableOptions) error {
	if k.refuses != nil {
		return k.refuses
	}
	if !bytes.HasPrefix(opts.Signature, []byte("good")) {
		return fsverity.SignatureError(unix.ENOKEY)
	}
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_ACCMODE != unix.O_RDONLY {
		return unix.ETXTBSY
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	d, err := fsverity.File(context.Background(), f, info.Size(), fsverity.FileOptions{Options: opts.Options})
	if err == nil {
		k.files[inode(f)] = enabled{d, opts.Signature}
	}
	return err
}

func inodeOf(t *testing.T, d *Dir, digest fsverity.Digest) uint64 {
	t.Helper()
	f, err := d.OpenObject(digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return inode(f)
}

func TestSignedObjectIsAnotherFileOfTheSameContent(t *testing.T) {
	for _, alg := range []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512} {
		for _, size := range []int{0, 3000, smallMax + 3000} {
			k := &fakeKernel{files: map[uint64]enabled{}}
			d := openStore(t, Options{Algorithm: alg})
			d.kernel = k
			stored, err := d.PutBytes(t.Context(), pattern(size))
			if err != nil {
				t.Fatal(err)
			}
			before := inodeOf(t, d, stored.Digest)
			user, err := d.OpenObject(stored.Digest)
			if err != nil {
				t.Fatal(err)
			}
			defer user.Close()
			if err := d.Sign(t.Context(), stored.Digest, []byte("good"), SignOptions{}); err != nil {
				t.Fatal(err)
			}
			signed := inodeOf(t, d, stored.Digest)
			if got := k.files[signed]; signed == before || got.digest != stored.Digest || string(got.signature) != "good" {
				t.Errorf("%v, %d bytes: inode %d, was %d, with %+v", alg, size, signed, before, got)
			}
			if inode(user) != before {
				t.Error("who had it open has another file")
			}
			checkObject(t, d, stored.Digest, pattern(size))
			if got := files(t, d); len(got) != 1 {
				t.Errorf("the store has %q", got)
			}
			// Again: nothing is to be done. With another one it is.
			if err := d.Sign(t.Context(), stored.Digest, []byte("good"), SignOptions{}); err != nil || inodeOf(t, d, stored.Digest) != signed {
				t.Errorf("signed again: %v", err)
			}
			if has, err := d.HasSignature(stored.Digest, []byte("good")); err != nil || !has {
				t.Errorf("has it: %v, %v", has, err)
			}
			if err := d.Sign(t.Context(), stored.Digest, []byte("good too"), SignOptions{}); err != nil || inodeOf(t, d, stored.Digest) == signed {
				t.Errorf("signed by somebody else: %v", err)
			}
		}
	}
}

func TestObjectThatCannotBeSignedStays(t *testing.T) {
	wrong := errors.New("not now")
	for _, tc := range []struct {
		name      string
		kernel    fakeKernel
		signature string
		around    error
		corrupt   bool
		want      error
	}{
		{name: "filesystem without fs-verity", kernel: fakeKernel{noVerity: true}, signature: "good", want: fsverity.ErrNoVerity},
		{name: "kernel without signatures", kernel: fakeKernel{unsigned: true}, signature: "good", want: fsverity.ErrNoSignatures},
		{name: "key that the kernel lacks", signature: "stranger's", want: fsverity.ErrSignatureRefused},
		{name: "algorithm that the kernel lacks", kernel: fakeKernel{refuses: fsverity.SignatureError(unix.ENOPKG)}, signature: "good", want: fsverity.ErrNoSignatures},
		{name: "signature that is not detached", kernel: fakeKernel{refuses: unix.EINVAL}, signature: "good", want: fsverity.ErrSignatureRefused},
		{name: "no signature", want: fsverity.ErrSignatureRefused},
		{name: "signature that is too long", signature: string(make([]byte, fsverity.MaxSignature+1)), want: fsverity.ErrSignatureRefused},
		{name: "somebody else objects", signature: "good", around: wrong, want: wrong},
		{name: "content is wrong", signature: "good", corrupt: true, want: ErrCorrupt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := openStore(t, Options{})
			tc.kernel.files = map[uint64]enabled{}
			d.kernel = &tc.kernel
			stored, err := d.PutBytes(t.Context(), pattern(5000))
			if err != nil {
				t.Fatal(err)
			}
			if tc.corrupt {
				if err := os.WriteFile(filepath.Join(d.Path(), stored.Digest.ObjectPath()), pattern(5001)[1:], 0o644); err != nil {
					t.Fatal(err)
				}
			}
			was, names := inodeOf(t, d, stored.Digest), files(t, d)
			opts := SignOptions{}
			if tc.around != nil {
				opts.Around = func(*os.File, func() error) error { return tc.around }
			}
			if err := d.Sign(t.Context(), stored.Digest, []byte(tc.signature), opts); !errors.Is(err, tc.want) {
				t.Errorf("error is %v, want %v", err, tc.want)
			}
			if got := files(t, d); !slices.Equal(got, names) || inodeOf(t, d, stored.Digest) != was {
				t.Errorf("the store has %q, had %q", got, names)
			}
		})
	}
	d := openStore(t, Options{})
	digest, err := fsverity.Sum(fsverity.SHA256, []byte("not here"))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Sign(t.Context(), digest, []byte("good"), SignOptions{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("an object that is not there: %v", err)
	}
}

// An object that was mended while it was signed is not overwritten by a copy of what was before.
func TestObjectThatWasReplacedMeanwhileStays(t *testing.T) {
	d := openStore(t, Options{})
	d.kernel = &fakeKernel{files: map[uint64]enabled{}}
	stored, err := d.PutBytes(t.Context(), pattern(5000))
	if err != nil {
		t.Fatal(err)
	}
	var mended uint64
	err = d.Sign(t.Context(), stored.Digest, []byte("good"), SignOptions{Around: func(_ *os.File, rename func() error) error {
		path := filepath.Join(d.Path(), stored.Digest.ObjectPath())
		if err := os.WriteFile(path+".new", pattern(5000), 0o644); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
		mended = inodeOf(t, d, stored.Digest)
		return rename()
	}})
	if !errors.Is(err, ErrChanged) || inodeOf(t, d, stored.Digest) != mended {
		t.Errorf("error is %v", err)
	}
}

func TestFaultAtAnyStepOfSigning(t *testing.T) {
	fault := errors.New("fault")
	for k := 1; ; k++ {
		d := openStore(t, Options{})
		d.kernel = &fakeKernel{files: map[uint64]enabled{}}
		stored, err := d.PutBytes(t.Context(), pattern(5000))
		if err != nil {
			t.Fatal(err)
		}
		count, failed, last := 0, "", ""
		d.beforeStep = func(step string) error {
			if count++; count == k {
				failed = last + " " + step
				return fault
			}
			last = step
			return nil
		}
		err = d.Sign(t.Context(), stored.Digest, []byte("good"), SignOptions{})
		d.beforeStep = nil
		if failed == "" {
			if err != nil || k < 8 {
				t.Errorf("%d steps, %v", k-1, err)
			}
			return
		}
		if !errors.Is(err, fault) {
			t.Errorf("fault in %s: error is %v", failed, err)
		}
		checkObject(t, d, stored.Digest, pattern(5000))
		if got := files(t, d); len(got) != 1 {
			t.Errorf("after a fault in %s: the store has %q", failed, got)
		}
		if err := d.Sign(t.Context(), stored.Digest, []byte("good"), SignOptions{}); err != nil {
			t.Errorf("after a fault in %s: %v", failed, err)
		}
	}
}
