package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"syscall"

	"github.com/go-composefs/composefs/fsverity"
)

// kernel is what signing asks of the kernel. Tests have one of their own.
type kernel interface {
	ChecksSignatures() bool
	Measure(f *os.File) (fsverity.Digest, error)
	Signature(f *os.File) ([]byte, error)
	Enable(f *os.File, opts fsverity.EnableOptions) error
}

type realKernel struct{}

func (realKernel) ChecksSignatures() bool                      { return fsverity.ChecksSignatures() }
func (realKernel) Measure(f *os.File) (fsverity.Digest, error) { return fsverity.Measure(f) }
func (realKernel) Signature(f *os.File) ([]byte, error)        { return fsverity.Signature(f) }
func (realKernel) Enable(f *os.File, opts fsverity.EnableOptions) error {
	return fsverity.Enable(f, opts)
}

func (d *Dir) theKernel() kernel {
	if d.kernel == nil {
		return realKernel{}
	}
	return d.kernel
}

// SignOptions say how [Dir.Sign] replaces an object.
type SignOptions struct {
	// Around, if not nil, is called when the signed file is complete, to call rename, which puts it in the
	// place of old. Old is the only description of that file that Sign has open. After an error of Around
	// without rename everything is as it was.
	Around func(old *os.File, rename func() error) error
}

// Sign makes an object again, with fs-verity and a signature that the kernel checks: fs-verity that is enabled
// cannot get one any more. The signature is a detached PKCS#7 in DER over [fsverity.FormattedDigest]. The new
// file takes the place of the old one at once for all who look, and durably; whoever has the old one open or
// mounted keeps it. An object that has the signature already stays.
//
// Errors wrap fsverity.ErrNoVerity if the filesystem cannot do it, fsverity.ErrNoSignatures if the kernel
// cannot, fsverity.ErrSignatureRefused if it does not take the signature, [ErrCorrupt] if the object is not what
// its name says, and [ErrNotFound]. The old object stays then.
func (d *Dir) Sign(ctx context.Context, digest fsverity.Digest, signature []byte, opts SignOptions) error {
	if err := d.sign(ctx, digest, signature, opts); err != nil {
		return fmt.Errorf("sign object %s: %w", digest.ObjectPath(), err)
	}
	return nil
}

func (d *Dir) sign(ctx context.Context, digest fsverity.Digest, signature []byte, opts SignOptions) error {
	old, err := d.OpenObject(digest)
	if err != nil {
		return fsverity.SignatureError(err)
	}
	defer old.Close()
	if has, err := d.hasSignature(old, signature); err != nil || has {
		return err
	}
	t, err := d.signedCopy(ctx, old, digest, signature)
	if t != nil {
		defer t.drop()
	}
	if err != nil {
		return err
	}
	sub := path.Dir(digest.ObjectPath())
	rename := func() error {
		// Somebody may have mended it meanwhile, or signed it too.
		if err := d.sameAs(digest, old); err != nil {
			return err
		}
		return d.name(t, sub, digest.ObjectPath(), true)
	}
	if opts.Around == nil {
		err = rename()
	} else {
		err = opts.Around(old, rename)
	}
	if err != nil {
		return err
	}
	return d.syncSub(sub)
}

// HasSignature says whether an object has a signature. Errors are those of [Dir.Sign] where signing is not
// possible at all; nothing is written to find that out.
func (d *Dir) HasSignature(digest fsverity.Digest, signature []byte) (bool, error) {
	f, err := d.OpenObject(digest)
	if err != nil {
		return false, fsverity.SignatureError(err)
	}
	defer f.Close()
	return d.hasSignature(f, signature)
}

func (d *Dir) hasSignature(f *os.File, signature []byte) (bool, error) {
	k := d.theKernel()
	_, err := k.Measure(f)
	// ENODATA says that the file has none, and others that none can have it.
	if errors.Is(err, fsverity.ErrNoVerity) && !errors.Is(err, syscall.ENODATA) {
		return false, err
	}
	if !k.ChecksSignatures() {
		return false, fsverity.ErrNoSignatures
	}
	if len(signature) == 0 || len(signature) > fsverity.MaxSignature {
		return false, fmt.Errorf("%w: it has %d bytes", fsverity.ErrSignatureRefused, len(signature))
	}
	had, err := k.Signature(f)
	if errors.Is(err, fsverity.ErrNoSignatures) {
		err = nil // a kernel that checks them, and does not tell which one
	}
	return err == nil && bytes.Equal(had, signature), err
}

// signedCopy makes a complete file for the object, durable but for its name. The caller drops the file in any
// case.
func (d *Dir) signedCopy(ctx context.Context, old *os.File, digest fsverity.Digest, signature []byte) (*temp, error) {
	info, err := old.Stat()
	if err != nil {
		return nil, err
	}
	t, err := d.newTemp(digest)
	if err != nil {
		return nil, err
	}
	err = d.fill(ctx, t, content{file: old, size: info.Size()}, digest)
	if errors.Is(err, ErrChanged) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err == nil {
		err = d.step("chmod")
	}
	if err == nil {
		err = t.Chmod(objectMode)
	}
	if err != nil {
		return t, err
	}
	seal(t.File, digest)
	f, err := d.reopen(t)
	if err != nil {
		return t, err
	}
	err = t.Close()
	t.File = f
	if err == nil {
		err = d.enableSigned(ctx, f, digest, signature)
	}
	if err == nil {
		err = d.step("sync")
	}
	if err == nil {
		err = f.Sync()
	}
	return t, err
}

// enableSigned enables fs-verity with a signature.
func (d *Dir) enableSigned(ctx context.Context, f *os.File, digest fsverity.Digest, signature []byte) error {
	if err := d.step("enable"); err != nil {
		return err
	}
	k := d.theKernel()
	opts := fsverity.EnableOptions{
		Options:   fsverity.Options{Algorithm: d.hashing(digest.Hash()).Algorithm},
		Signature: signature,
	}
	err := whileBusy(ctx, func() error { return k.Enable(f, opts) })
	if errors.Is(err, syscall.EINVAL) {
		// All other arguments are those of every object: it is a signature that is not detached.
		err = fmt.Errorf("%w: %w", fsverity.ErrSignatureRefused, err)
	}
	if err != nil {
		return err
	}
	got, err := k.Measure(f)
	if err == nil && got != digest {
		err = fmt.Errorf("%w: the kernel has %v", fsverity.ErrDigestMismatch, got)
	}
	return err
}

// sameAs returns nil if a file is the object still.
func (d *Dir) sameAs(digest fsverity.Digest, f *os.File) error {
	now, err := d.Stat(digest)
	if err != nil {
		return err
	}
	was, err := f.Stat()
	if err == nil && !os.SameFile(now, was) {
		err = ErrChanged
	}
	return err
}

// syncSub makes names in a directory of objects durable.
func (d *Dir) syncSub(sub string) error {
	if err := d.step("sync"); err != nil {
		return err
	}
	f, err := d.root.Open(sub)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
