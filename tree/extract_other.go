//go:build !linux

package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Extract needs Linux; elsewhere it fails with [errors.ErrUnsupported].
func Extract(_ context.Context, _ *Inode, dest *os.File, _ Opener, _ ExtractOptions) error {
	return fmt.Errorf("extract to %s: %w", dest.Name(), errors.ErrUnsupported)
}
