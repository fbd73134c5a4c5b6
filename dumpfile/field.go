package dumpfile

import (
	"bytes"
	"fmt"
	"math"
	"math/bits"
)

// isNone says whether a field is the lone dash that stands for "none".
func isNone(b []byte) bool { return len(b) == 1 && b[0] == '-' }

// nextField cuts the bytes before the first space off b. Fields that are missing are empty.
func nextField(b []byte) (field, rest []byte) {
	if i := bytes.IndexByte(b, ' '); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

// unescape appends the bytes that an escaped field stands for.
func unescape(dst, b []byte) ([]byte, error) {
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			return append(dst, b...), nil
		}
		dst = append(dst, b[:i]...)
		if b = b[i+1:]; len(b) == 0 {
			return nil, fmt.Errorf("No character after escape")
		}
		switch b[0] {
		case '\\':
			dst = append(dst, '\\')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'x':
			if len(b) < 3 {
				return nil, fmt.Errorf("No hex characters after hex escape")
			}
			hi, ok1 := hexDigit(b[1])
			lo, ok2 := hexDigit(b[2])
			if !ok1 || !ok2 {
				return nil, fmt.Errorf("Invalid hex characters after hex escape: %q", b[1:3])
			}
			dst = append(dst, hi<<4|lo)
			b = b[2:]
		default:
			return nil, fmt.Errorf("Unsupported escape type %c", b[0])
		}
		b = b[1:]
	}
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// parseUint reads a number as strtoull(3) does, on which the C reader relies: blanks and a
// sign may come first, what is too large becomes the largest number, and a minus sign negates
// modulo 2^64.
func parseUint(b []byte, base uint64) (uint64, error) {
	p := bytes.TrimLeft(b, " \t\n\v\f\r")
	negative := false
	if len(p) > 0 && (p[0] == '+' || p[0] == '-') {
		negative = p[0] == '-'
		p = p[1:]
	}
	if len(p) == 0 {
		return 0, fmt.Errorf("Invalid integer %s", b)
	}
	v, overflow := uint64(0), false
	for _, c := range p {
		d := uint64(c - '0')
		if c < '0' || d >= base {
			return 0, fmt.Errorf("Invalid integer %s", b)
		}
		hi, lo := bits.Mul64(v, base)
		sum, carry := bits.Add64(lo, d, 0)
		overflow = overflow || hi != 0 || carry != 0
		v = sum
	}
	switch {
	case overflow:
		return math.MaxUint64, nil
	case negative:
		return -v, nil
	}
	return v, nil
}
