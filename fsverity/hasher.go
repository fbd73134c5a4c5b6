package fsverity

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"slices"
)

const (
	maxLevels      = 8  // FS_VERITY_MAX_LEVELS
	maxSalt        = 32 // bytes
	descriptorSize = 256
)

// Options choose a digest. The zero value is composefs's: SHA-256, 4 KiB blocks, no salt.
type Options struct {
	Algorithm Algorithm
	Salt      []byte // at most 32 bytes
}

// Hasher computes the digest of data that is written to it in pieces. It holds one block for
// each level of the Merkle tree and is not safe for concurrent use.
type Hasher struct {
	alg  Algorithm
	salt []byte // as given
	pad  []byte // the salt padded to the hash's own block size; empty without salt
	size uint64 // bytes written
	// levels[0] collects data, levels[n] the hashes of the blocks of levels[n-1]. A full
	// block stays until more comes: the last one may turn out to be the root.
	levels [maxLevels + 1][]byte
}

// NewHasher returns a Hasher, or [ErrAlgorithm].
func NewHasher(opts Options) (*Hasher, error) {
	alg := opts.Algorithm
	if alg == (Algorithm{}) {
		alg = SHA256
	}
	if !alg.Valid() {
		return nil, fmt.Errorf("%w: %v", ErrAlgorithm, alg)
	}
	if len(opts.Salt) > maxSalt {
		return nil, fmt.Errorf("%w: salt of %d bytes, at most %d are possible", ErrAlgorithm, len(opts.Salt), maxSalt)
	}
	h := &Hasher{alg: alg, salt: slices.Clone(opts.Salt)}
	if len(h.salt) > 0 {
		h.pad = make([]byte, alg.Hash.New().BlockSize())
		copy(h.pad, h.salt)
	}
	return h, nil
}

// Reset makes the Hasher ready for other data.
func (h *Hasher) Reset() {
	h.size = 0
	for i := range h.levels {
		h.levels[i] = h.levels[i][:0]
	}
}

// Write adds data; it never fails.
func (h *Hasher) Write(p []byte) (int, error) {
	n, bs := len(p), h.alg.BlockSize()
	h.size += uint64(n)
	for len(p) > 0 {
		switch have := len(h.levels[0]); {
		case have == bs:
			h.push(1, h.levels[0])
			h.levels[0] = h.levels[0][:0]
		case have == 0 && len(p) > bs:
			h.push(1, p[:bs]) // a whole block that is not the last: no need to copy it
			p = p[bs:]
		default:
			k := min(len(p), bs-have)
			h.levels[0] = append(h.levels[0], p[:k]...)
			p = p[k:]
		}
	}
	return n, nil
}

// push adds the hash of a block to a level.
func (h *Hasher) push(level int, block []byte) {
	h.makeRoom(level)
	h.levels[level] = h.appendSum(h.levels[level], block)
}

// pushSum adds a hash to a level.
func (h *Hasher) pushSum(level int, sum []byte) {
	h.makeRoom(level)
	h.levels[level] = append(h.levels[level], sum...)
}

// makeRoom hands a full block of a level on to the level above it.
func (h *Hasher) makeRoom(level int) {
	if len(h.levels[level]) == h.alg.BlockSize() {
		h.push(level+1, h.levels[level])
		h.levels[level] = h.levels[level][:0]
	}
}

// appendSum appends the hash of salt and block.
func (h *Hasher) appendSum(dst, block []byte) []byte {
	switch {
	case len(h.pad) > 0:
		state := h.alg.Hash.New()
		state.Write(h.pad)
		state.Write(block)
		return state.Sum(dst)
	case h.alg.Hash == HashSHA512:
		s := sha512.Sum512(block)
		return append(dst, s[:]...)
	}
	s := sha256.Sum256(block)
	return append(dst, s[:]...)
}

// Digest returns the digest of what was written so far; more can be written after it.
func (h *Hasher) Digest() Digest {
	end := *h
	for i := range end.levels {
		end.levels[i] = slices.Clone(h.levels[i])
	}
	return end.finish()
}

// finish is Digest for a Hasher that is Reset next.
func (h *Hasher) finish() Digest {
	if h.size == 0 {
		return h.digest(make([]byte, h.alg.Hash.Size())) // the root hash of no data is zeros
	}
	return h.digest(h.root(0))
}

// digest hashes the descriptor, which holds the root hash and all that led to it.
func (h *Hasher) digest(root []byte) Digest {
	var d [descriptorSize]byte // struct fsverity_descriptor of fs/verity/fsverity_private.h
	d[0] = 1                   // version
	d[1] = byte(h.alg.Hash)
	d[2] = h.alg.BlockBits
	d[3] = byte(len(h.salt))
	binary.LittleEndian.PutUint64(d[8:], h.size)
	copy(d[16:80], root)
	copy(d[80:112], h.salt)
	unsalted := Hasher{alg: h.alg}
	return Digest{string(unsalted.appendSum(nil, d[:]))}
}

// root finishes the Merkle tree from a level on up and returns the root hash.
func (h *Hasher) root(level int) []byte {
	for ; ; level++ {
		for len(h.levels[level]) < h.alg.BlockSize() {
			pad := min(len(zeros), h.alg.BlockSize()-len(h.levels[level]))
			h.levels[level] = append(h.levels[level], zeros[:pad]...)
		}
		if len(h.levels[level+1]) == 0 {
			return h.appendSum(nil, h.levels[level])
		}
		h.push(level+1, h.levels[level])
	}
}

var zeros [4096]byte
