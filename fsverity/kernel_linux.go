package fsverity

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/linux"
)

// Enable makes the file read-only for good and has the kernel check every byte that is read
// from it. f is open for reading, and nobody may have it open for writing (ETXTBSY), nor enable
// it at the same time (EBUSY). The kernel reads the whole file. Errors wrap [ErrAlreadyEnabled],
// [ErrNoVerity], and with a signature those of [SignatureError], where they apply.
func Enable(f *os.File, opts EnableOptions) error {
	alg := opts.Algorithm.orDefault()
	if err := opts.check(); err != nil {
		return err
	}
	err := linux.EnableVerity(f, uint32(alg.Hash), uint32(alg.BlockSize()), opts.Salt, opts.Signature)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%s: %w", f.Name(), ErrAlreadyEnabled)
	case isNoVerity(err):
		return fmt.Errorf("%s: %w: %w", f.Name(), ErrNoVerity, err)
	case len(opts.Signature) > 0:
		err = SignatureError(err)
	}
	return fmt.Errorf("enable fs-verity of %s: %w", f.Name(), err)
}

// Measure returns the digest that the kernel enforces for a file. Errors wrap [ErrNoVerity] if
// there is none, [ErrAlgorithm] if it is of a hash unknown here.
func Measure(f *os.File) (Digest, error) {
	hash, sum, err := linux.MeasureVerity(f)
	switch {
	case isNoVerity(err):
		return Digest{}, fmt.Errorf("%s: %w: %w", f.Name(), ErrNoVerity, err)
	case err != nil:
		return Digest{}, fmt.Errorf("measure fs-verity of %s: %w", f.Name(), err)
	case hash > 255 || Hash(hash).Size() != len(sum) || len(sum) == 0:
		return Digest{}, fmt.Errorf("%s: %w: number %d with %d bytes", f.Name(), ErrAlgorithm, hash, len(sum))
	}
	return DigestFromBytes(sum)
}

// isNoVerity knows the answers for a file without fs-verity, of filesystems and kernels that do
// not have it, and of emulated kernels (ENOSYS).
func isNoVerity(err error) bool {
	return errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) ||
		errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.ENOSYS)
}
