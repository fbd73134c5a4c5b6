package compress

import (
	"bytes"
	"encoding/binary"

	"github.com/klauspost/compress/gzip"
)

// Flags of a gzip header (RFC 1952, section 2.3.1).
const (
	flagExtra   = 1 << 2
	flagName    = 1 << 3
	flagComment = 1 << 4
)

// goTime is the time in the headers of klauspost-gzip and pgzip if nobody sets one: the low bits of the first
// second of year 1.
const goTime = 0x886e0900

// parseGzipHeader reads the header at the start of a blob. It returns how long it is, or 0 if it is none
// or one that no candidate writes.
func parseGzipHeader(blob []byte) (h GzipHeader, extraFlags byte, size int) {
	if len(blob) < 10 || blob[0] != 0x1f || blob[1] != 0x8b || blob[2] != 8 {
		return h, 0, 0
	}
	flags := blob[3]
	if flags&^(flagExtra|flagName|flagComment) != 0 {
		return h, 0, 0
	}
	h.ModTime, h.OS = binary.LittleEndian.Uint32(blob[4:]), blob[9]
	rest := blob[10:]
	if flags&flagExtra != 0 {
		if len(rest) < 2 {
			return h, 0, 0
		}
		n := int(binary.LittleEndian.Uint16(rest))
		if rest = rest[2:]; len(rest) < n {
			return h, 0, 0
		}
		h.Extra, rest = bytes.Clone(rest[:n]), rest[n:]
	}
	for _, field := range []struct {
		flag byte
		s    *string
	}{{flagName, &h.Name}, {flagComment, &h.Comment}} {
		if flags&field.flag == 0 {
			continue
		}
		text, after, ok := bytes.Cut(rest, []byte{0})
		if !ok || len(text) > maxGzipText {
			return h, 0, 0
		}
		runes := make([]rune, len(text))
		for i, b := range text {
			runes[i] = rune(b)
		}
		*field.s, rest = string(runes), after
	}
	return h, blob[8], len(blob) - len(rest)
}

// maxGzipText is how long a name or comment may be. Blobs have none.
const maxGzipText = 1 << 10

// bytes returns the header as a compressor with this level writes it.
func (h *GzipHeader) bytes(level int) ([]byte, error) {
	var b bytes.Buffer
	z, err := openKlauspost(Recipe{Level: level, Header: h}, &b)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(nil); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// gzipLevels returns the levels that these extra flags go with, the likely ones first.
func gzipLevels(extraFlags byte, likely int) []int {
	switch extraFlags {
	case 2:
		return []int{gzip.BestCompression}
	case 4:
		return []int{gzip.BestSpeed}
	case 0:
		levels := []int{likely}
		for _, l := range []int{6, 5, 4, 3, 2, 7, 8, 0, gzip.HuffmanOnly} {
			if l != likely {
				levels = append(levels, l)
			}
		}
		return levels
	}
	return nil
}
