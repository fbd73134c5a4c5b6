//go:build !linux

package repository

import (
	"errors"
	"os"
)

// lockMode is how a lock is taken.
type lockMode int16

const (
	shared lockMode = iota
	exclusive
)

// Without Linux's locks nothing can be written; a repository can be read.

func lockByte(*os.File, int64, lockMode) error            { return errors.ErrUnsupported }
func tryLockByte(*os.File, int64, lockMode) (bool, error) { return false, errors.ErrUnsupported }
func unlockByte(*os.File, int64) error                    { return errors.ErrUnsupported }
func lockedByte(*os.File, int64) (bool, error)            { return false, errors.ErrUnsupported }
func tryFlock(*os.File, lockMode) (bool, error)           { return false, errors.ErrUnsupported }
func dropFlock(*os.File) error                            { return errors.ErrUnsupported }
func isOpenElsewhere(*os.File) (bool, error)              { return false, errors.ErrUnsupported }
