//go:build !purego

package fsverity

import (
	"crypto/fips140"
	"encoding/binary"
)

// hashesPairs says that the processor has instructions for SHA-256, and that nobody has asked for
// certified code.
var hashesPairs = hasSHA() && !fips140.Enabled()

func hasSHA() bool {
	leaves, _, _, _ := cpuid(0, 0)
	if leaves < 7 {
		return false
	}
	_, _, c, _ := cpuid(1, 0)
	_, b, _, _ := cpuid(7, 0)
	const ssse3, sse41, sha = 1 << 9, 1 << 19, 1 << 29
	return c&ssse3 != 0 && c&sse41 != 0 && b&sha != 0
}

// appendPair appends the SHA-256 of each half of blocks, whose length is a multiple of 128. It
// needs hashesPairs.
func appendPair(dst, blocks []byte) []byte {
	size := len(blocks) / 2
	last := [64]byte{0: 0x80} // the padding of FIPS 180-4: a bit, zeros, the length in bits
	binary.BigEndian.PutUint64(last[56:], uint64(size)*8)
	var sums [64]byte
	sha256Two(&sums, &blocks[0], &blocks[size], size/64, &last)
	return append(dst, sums[:]...)
}

// sha256Two hashes two messages of blocks·64 bytes, at least 64, each followed by last, and
// stores the one hash behind the other.
//
//go:noescape
func sha256Two(out *[64]byte, a, b *byte, blocks int, last *[64]byte)

func cpuid(leaf, sub uint32) (a, b, c, d uint32)
