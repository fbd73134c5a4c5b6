//go:build !linux

package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Scan needs Linux; elsewhere it fails with [errors.ErrUnsupported].
func Scan(_ context.Context, dir *os.File, _ ScanOptions) (*Inode, error) {
	return nil, fmt.Errorf("scan %s: %w", dir.Name(), errors.ErrUnsupported)
}

// FileIDOf needs Linux; elsewhere it fails with [errors.ErrUnsupported].
func FileIDOf(f *os.File) (FileID, error) {
	return FileID{}, fmt.Errorf("identify %s: %w", f.Name(), errors.ErrUnsupported)
}
