package dumpfile

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// parseUint reads a number as strtoull(3) does, on which the C reader relies: blanks and a
// sign may come first, what is too large becomes the largest number, and a minus sign negates
// modulo 2^64.
func parseUint(b []byte, base byte) (uint64, error) {
	const sure = 19 // so many digits do not overflow
	if len(b) == 0 {
		return 0, errors.New("Invalid integer (empty)")
	}
	if len(b) > sure {
		return parseOddUint(b, base)
	}
	v := uint64(0)
	for _, c := range b {
		d := c - '0'
		if d >= base {
			return parseOddUint(b, base)
		}
		v = v*uint64(base) + uint64(d)
	}
	return v, nil
}

func parseOddUint(b []byte, base byte) (uint64, error) {
	digits := bytes.TrimLeft(b, " \t\n\v\f\r")
	negative := bytes.HasPrefix(digits, []byte{'-'})
	if negative || bytes.HasPrefix(digits, []byte{'+'}) {
		digits = digits[1:]
	}
	v, overflow := uint64(0), false
	for _, c := range digits {
		d := c - '0'
		if d >= base {
			return 0, fmt.Errorf("Invalid integer %s", quote(b))
		}
		high, low := bits.Mul64(v, uint64(base))
		sum, carry := bits.Add64(low, uint64(d), 0)
		overflow = overflow || high != 0 || carry != 0
		v = sum
	}
	switch {
	case len(digits) == 0:
		return 0, fmt.Errorf("Invalid integer %s", quote(b))
	case overflow:
		return math.MaxUint64, nil
	case negative:
		return -v, nil
	}
	return v, nil
}
