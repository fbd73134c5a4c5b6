package fsverity

import (
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// ErrAlgorithm reports a hash or block size that fs-verity, or this package, does not know.
var ErrAlgorithm = errors.New("unknown fs-verity algorithm")

// Hash is the kernel's number for a hash function: FS_VERITY_HASH_ALG_* in
// include/uapi/linux/fsverity.h.
type Hash uint8

// The hash functions the kernel knows.
const (
	HashSHA256 Hash = 1
	HashSHA512 Hash = 2
)

// Size returns the length of a digest in bytes, or 0 for an unknown hash.
func (h Hash) Size() int {
	switch h {
	case HashSHA256:
		return sha256.Size
	case HashSHA512:
		return sha512.Size
	}
	return 0
}

// New returns a fresh hash state. It panics on an unknown hash.
func (h Hash) New() hash.Hash {
	switch h {
	case HashSHA256:
		return sha256.New()
	case HashSHA512:
		return sha512.New()
	}
	panic("fsverity: unknown hash " + strconv.Itoa(int(h)))
}

// String returns the kernel's name of the hash: "sha256" or "sha512".
func (h Hash) String() string {
	switch h {
	case HashSHA256:
		return "sha256"
	case HashSHA512:
		return "sha512"
	}
	return "hash-" + strconv.Itoa(int(h))
}

// Algorithm is what decides a digest besides data and salt: the hash and the Merkle tree's
// block size. It is comparable; its zero value stands for [SHA256] where an option allows it.
type Algorithm struct {
	Hash      Hash
	BlockBits uint8 // log2 of the block size in bytes: 12 or 16
}

// The algorithms in use. Composefs images and stores use the 4 KiB ones.
var (
	SHA256    = Algorithm{HashSHA256, 12}
	SHA512    = Algorithm{HashSHA512, 12}
	SHA256x64 = Algorithm{HashSHA256, 16}
	SHA512x64 = Algorithm{HashSHA512, 16}
)

// orDefault returns what an option means.
func (a Algorithm) orDefault() Algorithm {
	if a == (Algorithm{}) {
		return SHA256
	}
	return a
}

// BlockSize returns the Merkle tree's block size in bytes.
func (a Algorithm) BlockSize() int { return 1 << a.BlockBits }

// Valid says whether the package can compute digests with a.
func (a Algorithm) Valid() bool {
	return a.Hash.Size() != 0 && (a.BlockBits == 12 || a.BlockBits == 16)
}

// String returns the id repositories use: "fsverity-sha256-12".
func (a Algorithm) String() string {
	return fmt.Sprintf("fsverity-%s-%d", a.Hash, a.BlockBits)
}

// ParseAlgorithm reads an id such as "fsverity-sha512-12", or the bare name of a hash,
// "sha512", which means its 4 KiB variant. Anything else is [ErrAlgorithm].
func ParseAlgorithm(s string) (Algorithm, error) {
	name, bits := s, "12"
	if rest, ok := strings.CutPrefix(s, "fsverity-"); ok {
		if name, bits, ok = strings.Cut(rest, "-"); !ok {
			return Algorithm{}, fmt.Errorf("%w: %q", ErrAlgorithm, s)
		}
	}
	for _, a := range []Algorithm{SHA256, SHA512, SHA256x64, SHA512x64} {
		if a.Hash.String() == name && strconv.Itoa(int(a.BlockBits)) == bits {
			return a, nil
		}
	}
	return Algorithm{}, fmt.Errorf("%w: %q", ErrAlgorithm, s)
}

// MarshalText implements [encoding.TextMarshaler].
func (a Algorithm) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler] by [ParseAlgorithm].
func (a *Algorithm) UnmarshalText(text []byte) error {
	parsed, err := ParseAlgorithm(string(text))
	if err == nil {
		*a = parsed
	}
	return err
}
