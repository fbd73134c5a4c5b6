//go:build !linux

package fsverity

import (
	"errors"
	"fmt"
	"os"
)

// Enable fails with [ErrNoVerity] and [errors.ErrUnsupported]: fs-verity is Linux's.
func Enable(f *os.File, _ EnableOptions) error { return noVerity(f) }

// Measure fails with [ErrNoVerity] and [errors.ErrUnsupported]: fs-verity is Linux's.
func Measure(f *os.File) (Digest, error) { return Digest{}, noVerity(f) }

func noVerity(f *os.File) error {
	return fmt.Errorf("%s: %w: %w", f.Name(), ErrNoVerity, errors.ErrUnsupported)
}
