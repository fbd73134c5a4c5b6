package oci

import (
	"errors"
	"fmt"
	"hash"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// verifier reads a blob and tells at its end whether it was what its descriptor says. Nothing is read beyond
// the size.
type verifier struct {
	r    io.Reader
	desc ocispec.Descriptor
	hash hash.Hash
	left int64
}

func newVerifier(r io.Reader, desc ocispec.Descriptor) *verifier {
	return &verifier{r: r, desc: desc, hash: desc.Digest.Algorithm().Hash(), left: desc.Size}
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.left == 0 {
		// One that has more bytes is as wrong as one that has less.
		var more [1]byte
		if n, err := v.r.Read(more[:]); n > 0 {
			return 0, fmt.Errorf("%w: it has more than %d bytes", ErrCorrupt, v.desc.Size)
		} else if err != nil {
			return 0, err
		}
		return 0, nil
	}
	n, err := v.r.Read(p[:min(int64(len(p)), v.left)])
	v.hash.Write(p[:n])
	v.left -= int64(n)
	if errors.Is(err, io.EOF) && v.left > 0 {
		err = fmt.Errorf("%w: it ends %d bytes before its size of %d", ErrCorrupt, v.left, v.desc.Size)
	} else if errors.Is(err, io.EOF) && n > 0 {
		err = nil
	}
	return n, err
}

// finish reads what is left, which decompressors do not look at, and returns nil for the right blob.
func (v *verifier) finish() error {
	if _, err := io.Copy(io.Discard, v); err != nil {
		return err
	}
	sum := v.hash.Sum(nil)
	if got := fmt.Sprintf("%x", sum); got != v.desc.Digest.Encoded() {
		return fmt.Errorf("%w: its digest is %s:%s, not %s", ErrCorrupt, v.desc.Digest.Algorithm(), got, v.desc.Digest)
	}
	return nil
}
