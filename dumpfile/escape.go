package dumpfile

import (
	"bytes"
	"errors"
	"fmt"
)

// unescape appends the bytes that an escaped field stands for.
func unescape(dst, b []byte) ([]byte, error) {
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			return append(dst, b...), nil
		}
		dst = append(dst, b[:i]...)
		if b = b[i+1:]; len(b) == 0 {
			return nil, errors.New("No character after escape")
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
				return nil, errors.New("No hex characters after hex escape")
			}
			hi, ok1 := hexDigit(b[1])
			lo, ok2 := hexDigit(b[2])
			if !ok1 || !ok2 {
				return nil, fmt.Errorf("Invalid hex characters after hex escape: %s", quote(b[1:3]))
			}
			dst = append(dst, hi<<4|lo)
			b = b[2:]
		default:
			return nil, fmt.Errorf("Unsupported escape type %s", quote(b[:1]))
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

// appendField appends a field in which a lone "-" has a meaning.
func appendField[T string | []byte](b []byte, s T) []byte {
	if len(s) == 1 && s[0] == '-' {
		return append(b, `\x2d`...)
	}
	return appendEscaped(b, s, 0)
}

// appendEscaped appends s with everything escaped that is not printable ASCII, and the byte
// special, if it is not 0.
func appendEscaped[T string | []byte](b []byte, s T, special byte) []byte {
	const hex = "0123456789abcdef"
	plain := 0 // start of what needs no escape
	for i := range len(s) {
		c := s[i]
		if c > ' ' && c < 0x7f && c != '\\' && c != special {
			continue
		}
		b = append(b, s[plain:i]...)
		plain = i + 1
		switch c {
		case '\\':
			b = append(b, '\\', '\\')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
		}
	}
	return append(b, s[plain:]...)
}
