//go:build !linux

package fsverity

import (
	"fmt"
	"os"
)

// Enable fails with [ErrNoVerity]: fs-verity is Linux's.
func Enable(f *os.File, _ EnableOptions) error { return fmt.Errorf("%s: %w", f.Name(), ErrNoVerity) }

// Measure fails with [ErrNoVerity]: fs-verity is Linux's.
func Measure(f *os.File) (Digest, error) {
	return Digest{}, fmt.Errorf("%s: %w", f.Name(), ErrNoVerity)
}
