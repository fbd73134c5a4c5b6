package repository

import (
	"encoding/binary"
	"math/bits"
)

// soleUser returns how many bits are set, and which one if it is one.
func soleUser(words []uint64) (only, count int) {
	for i, w := range words {
		if w != 0 {
			only = i*64 + bits.TrailingZeros64(w)
			count += bits.OnesCount64(w)
		}
	}
	return only, count
}

func appendWords(b []byte, words []uint64) []byte {
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// usersOf returns which bits are set in what appendWords has made.
func usersOf(words string) []int {
	var list []int
	for i := range len(words) * 8 {
		if words[i/8]&(1<<(i%8)) != 0 {
			list = append(list, i)
		}
	}
	return list
}
