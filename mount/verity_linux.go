package mount

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/linux"
)

// decideVerity finds out, before anything is mounted, whether verity can hold. A kernel
// without fs-verity mounts an overlay that requires it and then refuses to open any file.
//
// One question to each object directory answers it in constant time: asked for the digest of
// a directory, which has none, filesystems with fs-verity say ENODATA, others that they do not
// know the question.
func (j *job) decideVerity() error {
	if j.Verity == VerityOff {
		return nil
	}
	for _, dir := range j.Objects {
		reason, err := lacksVerity(dir)
		if err != nil {
			return fmt.Errorf("object directory %s: %w", dir.Name(), err)
		}
		if reason == "" {
			continue
		}
		reason = fmt.Sprintf("object directory %s: %s", dir.Name(), reason)
		if j.Verity == VerityRequire {
			return fmt.Errorf("%w: %s", ErrNoVerity, reason)
		}
		j.state.VerityReason = reason
		return nil
	}
	j.state.Verity = VerityRequire
	return nil
}

// lacksVerity returns why files of the directory cannot have fs-verity, or an empty string.
func lacksVerity(dir *os.File) (reason string, err error) {
	if fuse, err := onFUSE(dir); err != nil || fuse {
		return "a FUSE filesystem has no fs-verity", err
	}
	// An O_PATH descriptor answers no questions.
	fd, err := unix.Openat(int(dir.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", os.NewSyscallError("openat", err)
	}
	f := os.NewFile(uintptr(fd), dir.Name())
	defer f.Close()
	switch _, _, err := linux.MeasureVerity(f); {
	case err == nil, errors.Is(err, unix.ENODATA):
		return "", nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY):
		return "its filesystem, or this kernel, has no fs-verity", nil
	default:
		return "", err
	}
}

// onFUSE tells files whose server, not the kernel, answers questions about fs-verity (since
// Linux 6.10), and which the kernel does not verify.
func onFUSE(f *os.File) (bool, error) {
	var fs unix.Statfs_t
	err := unix.Fstatfs(int(f.Fd()), &fs)
	return fs.Type == unix.FUSE_SUPER_MAGIC, os.NewSyscallError("fstatfs", err)
}

// measure returns the digest that the kernel enforces for the file.
func measure(f *os.File) (fsverity.Digest, error) {
	fuse, err := onFUSE(f)
	if err != nil {
		return fsverity.Digest{}, err
	}
	if fuse {
		return fsverity.Digest{}, fsverity.ErrNoVerity
	}
	return fsverity.Measure(f)
}

// checkDigest compares the image with the expected digest, and notes what is known about it.
func (j *job) checkDigest(ctx context.Context) error {
	got, err := measure(j.Image)
	switch {
	case err == nil:
		j.state.Digest, j.state.DigestOrigin = got, DigestMeasured
	case j.Digest.IsZero():
		// Nobody asked.
		return nil
	case !errors.Is(err, fsverity.ErrNoVerity):
		return fmt.Errorf("image %s: %w", j.name, err)
	case !j.AllowComputed:
		return &DigestError{Image: j.name, Want: j.Digest, Err: ErrNoVerity}
	default:
		if got, err = computeDigest(ctx, j.Image, j.Digest.Hash()); err != nil {
			return fmt.Errorf("compute digest of image %s: %w", j.name, err)
		}
		j.state.Digest, j.state.DigestOrigin = got, DigestComputed
	}
	if !j.Digest.IsZero() && got != j.Digest {
		return &DigestError{Image: j.name, Want: j.Digest, Got: got, Err: ErrWrongVerity}
	}
	return nil
}

// computeDigest hashes the image with 4 KiB blocks, as all composefs programs do.
func computeDigest(ctx context.Context, image *os.File, hash fsverity.Hash) (fsverity.Digest, error) {
	info, err := image.Stat()
	if err != nil {
		return fsverity.Digest{}, err
	}
	if !info.Mode().IsRegular() {
		// A device has no end of its own, and can be written to besides.
		return fsverity.Digest{}, fmt.Errorf("not a regular file: %w", ErrNoVerity)
	}
	alg := fsverity.Algorithm{Hash: hash, BlockBits: 12}
	return fsverity.File(ctx, image, info.Size(), fsverity.FileOptions{Options: fsverity.Options{Algorithm: alg}})
}
