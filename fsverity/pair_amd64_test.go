//go:build !purego

package fsverity

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"testing"
)

func TestPairsAreHashedAsTheStandardLibraryDoes(t *testing.T) {
	if !hashesPairs {
		t.Skip("needs a processor with instructions for SHA-256")
	}
	source := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{64, 128, 4096, 65536} {
		for _, offset := range []int{0, 1, 15} { // memory need not be aligned
			data := make([]byte, 2*size+offset)
			if _, err := source.Read(data); err != nil {
				t.Fatal(err)
			}
			data = data[offset:]
			a, b := sha256.Sum256(data[:size]), sha256.Sum256(data[size:])
			want := append(append([]byte("before"), a[:]...), b[:]...)
			if got := appendPair([]byte("before"), data); !bytes.Equal(got, want) {
				t.Errorf("two blocks of %d bytes: %x, want %x", size, got, want)
			}
		}
	}
}

// TestWithoutPairs is what other processors do.
func TestWithoutPairs(t *testing.T) {
	defer func(was bool) { hashesPairs = was }(hashesPairs)
	data := make([]byte, 3<<20+5)
	if _, err := rand.NewChaCha8([32]byte{2}).Read(data); err != nil {
		t.Fatal(err)
	}
	for _, alg := range []Algorithm{SHA256, SHA256x64} {
		var digests [2]Digest
		for i, pairs := range []bool{hasSHA(), false} {
			hashesPairs = pairs
			var err error
			if digests[i], err = Sum(alg, data); err != nil {
				t.Fatal(err)
			}
		}
		if digests[0] != digests[1] {
			t.Errorf("%v: %v in pairs, %v without", alg, digests[0], digests[1])
		}
	}
}
