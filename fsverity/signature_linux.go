package fsverity

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/linux"
)

// requireSignatures is there if the kernel was built to check signatures. One that was not takes and keeps any.
const requireSignatures = "/proc/sys/fs/verity/require_signatures"

// ChecksSignatures says whether the kernel checks signatures at all. Where /proc is missing nobody knows, and
// it says no.
func ChecksSignatures() bool {
	_, err := os.Stat(requireSignatures)
	return err == nil
}

// Signature returns the signature that fs-verity of a file was enabled with, nil if there was none or the
// file has no fs-verity. Where the kernel checks signatures it has checked this one when the file was opened.
// Errors wrap [ErrNoSignatures] if the kernel is too old to tell (before 5.12).
func Signature(f *os.File) ([]byte, error) {
	buf := make([]byte, MaxSignature)
	n, err := linux.ReadVerityMetadata(f, unix.FS_VERITY_METADATA_TYPE_SIGNATURE, 0, buf)
	switch {
	case err == nil && n > 0:
		return buf[:n], nil
	case err == nil || errors.Is(err, unix.ENODATA):
		return nil, nil
	case isNoVerity(err):
		return nil, fmt.Errorf("%s: %w: %w", f.Name(), ErrNoSignatures, err)
	}
	return nil, fmt.Errorf("read fs-verity signature of %s: %w", f.Name(), err)
}

// SignatureError wraps [ErrSignatureRefused] or [ErrNoSignatures] around an error of enabling with a signature,
// or of opening a file that has one, if it is the kernel's answer about the signature. Others stay as they are.
func SignatureError(err error) error {
	switch {
	case errors.Is(err, ErrSignatureRefused) || errors.Is(err, ErrNoSignatures):
	case errors.Is(err, unix.ENOPKG): // the kernel lacks the algorithm
		return fmt.Errorf("%w: %w", ErrNoSignatures, err)
	case errors.Is(err, unix.ENOKEY), errors.Is(err, unix.EKEYREJECTED), errors.Is(err, unix.EKEYEXPIRED),
		errors.Is(err, unix.EKEYREVOKED), errors.Is(err, unix.EBADMSG), errors.Is(err, unix.EMSGSIZE):
		return fmt.Errorf("%w: %w", ErrSignatureRefused, err)
	}
	return err
}
