package fsverity

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
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

// check fails with ErrAlgorithm for what the kernel or this package cannot do.
func (o Options) check() error {
	if alg := o.Algorithm.orDefault(); !alg.Valid() {
		return fmt.Errorf("%w: %v", ErrAlgorithm, alg)
	}
	if len(o.Salt) > maxSalt {
		return fmt.Errorf("%w: salt of %d bytes, at most %d are possible", ErrAlgorithm, len(o.Salt), maxSalt)
	}
	return nil
}

// Hasher computes the digest of data that is written to it in pieces. It holds one block for
// each level of the Merkle tree and is not safe for concurrent use. It can be used again and
// again without taking memory anew.
type Hasher struct {
	alg   Algorithm
	salt  []byte // as given
	block blockHash
	size  uint64 // bytes written
	// levels[0] collects data, levels[n] the hashes of the blocks of levels[n-1]. A full
	// block stays until more comes: the last one may turn out to be the root.
	levels [maxLevels + 1][]byte
	last   []byte // where the last block of a level is padded
}

// NewHasher returns a Hasher, or [ErrAlgorithm].
func NewHasher(opts Options) (*Hasher, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	alg := opts.Algorithm.orDefault()
	h := &Hasher{alg: alg, salt: slices.Clone(opts.Salt), last: make([]byte, alg.BlockSize())}
	h.block = newBlockHash(alg.Hash, h.salt)
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
		h.makeRoom(0)
		if have := len(h.levels[0]); have > 0 || len(p) <= bs {
			k := min(len(p), bs-have)
			h.levels[0] = append(h.levels[0], p[:k]...)
			p = p[k:]
			continue
		}
		// Whole blocks that are not the last: no need to copy them.
		h.makeRoom(1)
		room := (bs - len(h.levels[1])) / h.alg.Hash.Size()
		whole := p[:min(room, (len(p)-1)/bs)*bs]
		h.levels[1] = h.block.appendSums(h.levels[1], whole, bs)
		p = p[len(whole):]
	}
	return n, nil
}

// addSums adds the hashes of the blocks of size bytes of data, instead of the data. There are
// at least two of them in the end: that of an only block is the root hash itself.
func (h *Hasher) addSums(sums []byte, size int64) {
	h.size += uint64(size)
	for len(sums) > 0 {
		h.makeRoom(1)
		k := min(len(sums), h.alg.BlockSize()-len(h.levels[1]))
		h.levels[1] = append(h.levels[1], sums[:k]...)
		sums = sums[k:]
	}
}

// makeRoom sees to it that something can be appended to a level: it hands a full block on to
// the level above.
func (h *Hasher) makeRoom(level int) {
	switch block := h.levels[level]; len(block) {
	case 0:
		if block == nil {
			h.levels[level] = make([]byte, 0, h.alg.BlockSize())
		}
	case h.alg.BlockSize():
		h.makeRoom(level + 1)
		h.levels[level+1] = h.block.appendSum(h.levels[level+1], block)
		h.levels[level] = block[:0]
	}
}

// Digest returns the digest of what was written so far; more can be written after it.
func (h *Hasher) Digest() Digest {
	var d [descriptorSize]byte // struct fsverity_descriptor of fs/verity/fsverity_private.h
	d[0] = 1                   // version
	d[1] = byte(h.alg.Hash)
	d[2] = h.alg.BlockBits
	d[3] = byte(len(h.salt))
	binary.LittleEndian.PutUint64(d[8:], h.size)
	if h.size > 0 { // the root hash of no data is zeros
		h.appendRoot(d[16:16])
	}
	copy(d[80:80+maxSalt], h.salt)
	if h.alg.Hash == HashSHA512 {
		sum := sha512.Sum512(d[:])
		return Digest{string(sum[:])}
	}
	sum := sha256.Sum256(d[:])
	return Digest{string(sum[:])}
}

// appendRoot appends the root hash. It goes up with what each level hands to the next, at most
// two hashes, and leaves the levels as they are.
func (h *Hasher) appendRoot(dst []byte) []byte {
	bs := h.alg.BlockSize()
	var buf [2 * sha512.Size]byte
	rest := buf[:0]
	for level := 0; ; level++ {
		block := append(h.last[:0], h.levels[level]...)
		room := min(len(rest), bs-len(block))
		block = append(block, rest[:room]...)
		over := append(buf[:0], rest[room:]...)
		switch {
		case len(block) == 0:
			continue // of data nothing but hashes was added
		case len(over) > 0:
			var first [sha512.Size]byte
			sum := h.block.appendSum(first[:0], block)
			block = append(block[:0], over...)
			rest = append(buf[:0], sum...)
		case level == maxLevels || len(h.levels[level+1]) == 0:
			clear(h.last[len(block):])
			return h.block.appendSum(dst, h.last)
		default:
			rest = buf[:0]
		}
		clear(h.last[len(block):])
		rest = h.block.appendSum(rest, h.last)
	}
}

// blockHash hashes single blocks, with the salt before each. It is not safe for concurrent use.
type blockHash struct {
	hash  Hash
	pad   []byte    // the salt padded to the input block of the hash; empty without salt
	state hash.Hash // for salted blocks
	sum   [sha512.Size]byte
}

func newBlockHash(h Hash, salt []byte) blockHash {
	b := blockHash{hash: h}
	if len(salt) > 0 {
		b.state = h.New()
		b.pad = make([]byte, b.state.BlockSize())
		copy(b.pad, salt)
	}
	return b
}

func (b *blockHash) appendSum(dst, block []byte) []byte {
	switch {
	case b.state != nil:
		b.state.Reset()
		b.state.Write(b.pad)
		b.state.Write(block)
		return append(dst, b.state.Sum(b.sum[:0])...)
	case b.hash == HashSHA512:
		s := sha512.Sum512(block)
		return append(dst, s[:]...)
	}
	s := sha256.Sum256(block)
	return append(dst, s[:]...)
}

// appendSums appends the hashes of blocks of size bytes.
func (b *blockHash) appendSums(dst, blocks []byte, size int) []byte {
	if hashesPairs && b.hash == HashSHA256 && b.state == nil {
		for ; len(blocks) >= 2*size; blocks = blocks[2*size:] {
			dst = appendPair(dst, blocks[:2*size])
		}
	}
	for ; len(blocks) > 0; blocks = blocks[size:] {
		dst = b.appendSum(dst, blocks[:size])
	}
	return dst
}
