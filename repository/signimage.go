package repository

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
)

// SignImage gives the object of an image a signature that the kernel checks whenever the file is opened: a
// detached PKCS#7 in DER over [fsverity.FormattedDigest]. It is durable then. An image that has it stays as it is.
//
// Errors are those of [objects.Dir.Sign]; [ErrNotFound] for what is no image here, [ErrElsewhere] for one of
// another store, and [ErrInUse] if somebody has the image open or mounted: the file would be another one then,
// and a collector would not know any more that it is in use.
func (r *Repository) SignImage(ctx context.Context, image fsverity.Digest, signature []byte) error {
	if err := r.signImage(ctx, image, signature); err != nil {
		return fmt.Errorf("sign image %s: %w", image, err)
	}
	return nil
}

func (r *Repository) signImage(ctx context.Context, image fsverity.Digest, signature []byte) error {
	if err := r.writable(); err != nil {
		return err
	}
	if _, err := r.images().entry(image.String()); err != nil {
		return err
	}
	// Nothing is written where it is not possible or not necessary.
	has, err := r.objects.HasSignature(image, signature)
	if gone(err) {
		if ok, err := r.storedElsewhere(image, -1); err != nil || ok {
			return errors.Join(err, ErrElsewhere)
		}
	}
	if err != nil || has {
		return err
	}
	tx, err := r.Begin(ctx, TransactionOptions{Owner: "sign image"})
	if err != nil {
		return err
	}
	defer tx.Abort()
	if err := tx.lease.claim(image); err != nil {
		return err
	}
	if _, err := r.images().entry(image.String()); err != nil { // it may have been collected before it was claimed
		return err
	}
	if err := tx.objects.Sign(ctx, image, signature, objects.SignOptions{Around: r.unlessInUse(image)}); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// unlessInUse replaces an image that nobody uses. Who opens it meanwhile waits behind the gate, as for a
// collector, and finds the new file then.
func (r *Repository) unlessInUse(image fsverity.Digest) func(old *os.File, rename func() error) error {
	return func(old *os.File, rename func() error) (err error) {
		d, err := r.newLeaseDir() // a description has one lock of a byte, and the lease's is in use
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.Close()) }()
		at := gateOf(image)
		if err := lockByte(d.lock, at, exclusive); err != nil {
			return err
		}
		err = r.step("replace image")
		if err == nil {
			err = r.replaceUnused(old, rename)
		}
		return errors.Join(err, unlockByte(d.lock, at))
	}
}

func (r *Repository) replaceUnused(old *os.File, rename func() error) error {
	switch open, err := isOpenElsewhere(old); {
	case err != nil:
		// The kernel does not tell, so somebody may have it open.
		return fmt.Errorf("%w: %w", ErrInUse, err)
	case open:
		return ErrInUse
	}
	return rename()
}

// ImageSignature returns the signature that the object of an image has in the kernel, nil if it has none. It is
// fsverity.ErrNoVerity without fs-verity, fsverity.ErrNoSignatures if the kernel cannot tell or does not check
// it, and fsverity.ErrSignatureRefused if it does not let the object be opened because of it.
func (r *Repository) ImageSignature(image fsverity.Digest) ([]byte, error) {
	signature, err := r.imageSignature(image)
	if err != nil {
		return nil, fmt.Errorf("signature of image %s: %w", image, err)
	}
	return signature, nil
}

func (r *Repository) imageSignature(image fsverity.Digest) ([]byte, error) {
	f, err := r.openRaw(image)
	if err != nil {
		return nil, fsverity.SignatureError(err)
	}
	defer f.Close()
	if _, err := fsverity.Measure(f); err != nil {
		return nil, err
	}
	if !fsverity.ChecksSignatures() {
		return nil, fsverity.ErrNoSignatures
	}
	return fsverity.Signature(f)
}
