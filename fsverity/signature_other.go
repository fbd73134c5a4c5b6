//go:build !linux

package fsverity

import (
	"errors"
	"fmt"
	"os"
)

// ChecksSignatures says no: fs-verity is Linux's.
func ChecksSignatures() bool { return false }

// Signature fails with [ErrNoSignatures] and [errors.ErrUnsupported]: fs-verity is Linux's.
func Signature(f *os.File) ([]byte, error) {
	return nil, fmt.Errorf("%s: %w: %w", f.Name(), ErrNoSignatures, errors.ErrUnsupported)
}

// SignatureError returns the error.
func SignatureError(err error) error { return err }
