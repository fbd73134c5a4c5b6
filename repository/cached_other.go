//go:build !linux

package repository

import (
	"errors"
	"os"
)

// dropCached needs Linux.
func dropCached(*os.File) error { return errors.ErrUnsupported }
