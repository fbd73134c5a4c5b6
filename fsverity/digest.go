package fsverity

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrDigestSyntax reports text that is not the hex form of a digest.
var ErrDigestSyntax = errors.New("bad digest")

// Digest is a file's fs-verity digest: 32 bytes for SHA-256, 64 for SHA-512. It is
// comparable and immutable, so it can be a map key; the zero value means "no digest".
// The block size is not part of it: it belongs to the store that the digest is used with.
type Digest struct {
	sum string
}

// DigestFromBytes copies the raw sum, whose length must be 32 or 64 bytes.
func DigestFromBytes(sum []byte) (Digest, error) {
	if len(sum) != sha256.Size && len(sum) != sha512.Size {
		return Digest{}, fmt.Errorf("%w: %d bytes, want 32 or 64", ErrDigestSyntax, len(sum))
	}
	return Digest{string(sum)}, nil
}

// DigestFromString is [DigestFromBytes] without the copy.
func DigestFromString(sum string) (Digest, error) {
	if len(sum) != sha256.Size && len(sum) != sha512.Size {
		return Digest{}, fmt.Errorf("%w: %d bytes, want 32 or 64", ErrDigestSyntax, len(sum))
	}
	return Digest{sum}, nil
}

// ParseDigest reads the 64 or 128 hex digits (either case) of a digest.
func ParseDigest(s string) (Digest, error) {
	if len(s) != 2*sha256.Size && len(s) != 2*sha512.Size {
		return Digest{}, fmt.Errorf("%w: %d hex digits, want 64 or 128", ErrDigestSyntax, len(s))
	}
	var buf [sha512.Size]byte
	n, err := hex.Decode(buf[:], []byte(s))
	if err != nil {
		return Digest{}, fmt.Errorf("%w: %q is not hexadecimal", ErrDigestSyntax, s)
	}
	return Digest{string(buf[:n])}, nil
}

// IsZero says whether d is "no digest".
func (d Digest) IsZero() bool { return d.sum == "" }

// Hash returns the hash function, told by the length; 0 for the zero digest.
func (d Digest) Hash() Hash {
	switch len(d.sum) {
	case sha256.Size:
		return HashSHA256
	case sha512.Size:
		return HashSHA512
	}
	return 0
}

// Bytes returns a copy of the raw sum.
func (d Digest) Bytes() []byte { return []byte(d.sum) }

// Append appends the raw sum to b.
func (d Digest) Append(b []byte) []byte { return append(b, d.sum...) }

// Compare orders digests by their bytes: -1, 0 or +1.
func (d Digest) Compare(e Digest) int {
	switch {
	case d.sum < e.sum:
		return -1
	case d.sum > e.sum:
		return 1
	}
	return 0
}

// String returns the lower-case hex form, empty for the zero digest.
func (d Digest) String() string { return hex.EncodeToString([]byte(d.sum)) }

// AppendHex appends [Digest.String] to b.
func (d Digest) AppendHex(b []byte) []byte {
	var sum [sha512.Size]byte
	return hex.AppendEncode(b, sum[:copy(sum[:], d.sum)])
}

// ObjectPath returns where a store keeps the object of this name, relative to its object
// directory: the first byte in hex, a slash, and the other bytes. Empty for the zero digest.
func (d Digest) ObjectPath() string { return string(d.AppendObjectPath(nil)) }

// AppendObjectPath appends [Digest.ObjectPath] to b.
func (d Digest) AppendObjectPath(b []byte) []byte {
	if d.sum == "" {
		return b
	}
	var sum [sha512.Size]byte
	n := copy(sum[:], d.sum)
	b = hex.AppendEncode(b, sum[:1])
	b = append(b, '/')
	return hex.AppendEncode(b, sum[1:n])
}

// MarshalText implements [encoding.TextMarshaler].
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; empty text gives the zero digest.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = Digest{}
		return nil
	}
	parsed, err := ParseDigest(string(text))
	if err == nil {
		*d = parsed
	}
	return err
}
