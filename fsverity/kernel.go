package fsverity

import (
	"context"
	"errors"
	"os"
)

// Errors about the kernel's side of fs-verity.
var (
	// ErrNoVerity reports a file without fs-verity, or a kernel or filesystem that cannot
	// do it.
	ErrNoVerity = errors.New("file has no fs-verity")
	// ErrAlreadyEnabled reports that Enable was called for a file that has fs-verity.
	ErrAlreadyEnabled = errors.New("fs-verity is enabled already")
	// ErrDigestMismatch reports a file that is not the one its digest names.
	ErrDigestMismatch = errors.New("fs-verity digest does not match")
	// ErrNoSignatures reports a kernel that does not check signatures, or not those of the kind.
	ErrNoSignatures = errors.New("kernel does not check such fs-verity signatures")
	// ErrSignatureRefused reports a signature that the kernel does not take: of none whose key is
	// in its keyring, of another file, or malformed.
	ErrSignatureRefused = errors.New("kernel refuses the fs-verity signature")
)

// EnableOptions say how [Enable] protects a file.
type EnableOptions struct {
	Options
	// Signature is a detached PKCS#7 signature in DER over [FormattedDigest], checked by
	// the kernel against the keys of its .fs-verity keyring. May be empty.
	Signature []byte
}

// DigestFile returns the digest of an open file of size bytes: the kernel's word if it has one
// under the same algorithm, else computed from the content. measured says which.
func DigestFile(ctx context.Context, f *os.File, size int64, opts FileOptions) (d Digest, measured bool, err error) {
	if len(opts.Salt) == 0 {
		alg := opts.Algorithm.orDefault()
		// The kernel does not tell the block size, which decides the digest as well; nearly
		// all files have 4 KiB.
		if d, err := Measure(f); err == nil && d.Hash() == alg.Hash && alg.BlockBits == 12 {
			return d, true, nil
		}
	}
	d, err = File(ctx, f, size, opts)
	return d, false, err
}

// FormattedDigest returns the bytes that a built-in signature signs: struct
// fsverity_formatted_digest of include/uapi/linux/fsverity.h.
func FormattedDigest(d Digest) []byte {
	b := append([]byte("FSVerity"), byte(d.Hash()), 0, byte(d.Hash().Size()), 0)
	return d.Append(b)
}
