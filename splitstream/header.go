package splitstream

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/go-composefs/composefs/fsverity"
)

const (
	magic      = "SplitStream"
	version    = 0
	headerSize = 32
	infoSize   = 80 // of the info that is known; it may be longer

	// maxRefs bounds each table of refs: 256 MiB of SHA-512 digests.
	maxRefs = 1 << 22
	// maxNames bounds the named refs, and maxNamed their text, in bytes. An image has one of
	// about a hundred bytes for each layer.
	maxNames = 1 << 16
	maxNamed = 4 << 20
)

// A headerLayout says where the fields of a header are.
type headerLayout struct {
	info, magic, version, hash, blockBits int
}

var (
	normalHeader = headerLayout{magic: 0, version: 11, hash: 14, blockBits: 15, info: 16}
	// oldHeader is of bootc until 1.15, whose compiler was free to reorder the fields.
	oldHeader = headerLayout{info: 0, magic: 18, version: 29, hash: 30, blockBits: 31}
)

// A span is where a section is: its first byte and the one after its last, from the start of
// the file.
type span struct{ start, end int64 }

func (s span) len() int64 { return s.end - s.start }

// info is what the header and the info section say.
type info struct {
	algorithm   fsverity.Algorithm
	info        span
	streamRefs  span
	objectRefs  span
	stream      span
	namedRefs   span
	contentType ContentType
	size        int64 // of the reassembled stream
}

// parseHeader reads the first headerSize bytes of a file of fileSize bytes: algorithm and place
// of the info section.
func parseHeader(b []byte, fileSize int64) (info, error) {
	var at headerLayout
	switch {
	case string(b[normalHeader.magic:][:len(magic)]) == magic:
		at = normalHeader
	case string(b[oldHeader.magic:][:len(magic)]) == magic:
		at = oldHeader
	default:
		return info{}, corruptf("header", 0, "no magic")
	}
	if v := b[at.version]; v != version {
		return info{}, unsupportedf(int64(at.version), "version %d", v)
	}
	hash := fsverity.Hash(b[at.hash])
	if hash.Size() == 0 {
		return info{}, unsupportedf(int64(at.hash), "fs-verity hash %d", b[at.hash])
	}
	if bits := b[at.blockBits]; bits != fsverity.SHA256.BlockBits {
		return info{}, unsupportedf(int64(at.blockBits), "fs-verity blocks of 2^%d bytes", bits)
	}
	in := info{algorithm: fsverity.Algorithm{Hash: hash, BlockBits: fsverity.SHA256.BlockBits}}
	var err error
	if in.info, err = parseSpan(b[at.info:], "info", int64(at.info), fileSize); err != nil {
		return info{}, err
	}
	if in.info.len() < infoSize {
		return info{}, corruptf("header", int64(at.info), "info has %d bytes, want at least %d", in.info.len(), infoSize)
	}
	return in, nil
}

// parse reads the info section's known bytes and checks that all sections have room in a file of
// fileSize bytes, and none lies over another.
func (in *info) parse(b []byte, fileSize int64) error {
	for i, section := range []struct {
		name string
		span *span
	}{
		{"stream_refs", &in.streamRefs},
		{"object_refs", &in.objectRefs},
		{"stream", &in.stream},
		{"named_refs", &in.namedRefs},
	} {
		var err error
		*section.span, err = parseSpan(b[16*i:], section.name, in.info.start+int64(16*i), fileSize)
		if err != nil {
			return err
		}
	}
	in.contentType = ContentType(binary.LittleEndian.Uint64(b[64:]))
	size := binary.LittleEndian.Uint64(b[72:])
	if size > math.MaxInt64 {
		return corruptf("info", in.info.start+72, "a stream of %d bytes", size)
	}
	in.size = int64(size)

	spans := []span{{0, headerSize}, in.info, in.streamRefs, in.objectRefs, in.stream, in.namedRefs}
	spans = slices.DeleteFunc(spans, func(s span) bool { return s.len() == 0 })
	slices.SortFunc(spans, func(a, b span) int { return int(min(max(a.start-b.start, -1), 1)) })
	for i, s := range spans[1:] {
		if s.start < spans[i].end {
			return corruptf("info", in.info.start, "sections overlap at byte %d", s.start)
		}
	}
	return nil
}

// parseSpan reads the place of a section from b, which is the file's content at offset.
func parseSpan(b []byte, section string, offset, fileSize int64) (span, error) {
	start, end := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	if start > end || end > uint64(fileSize) {
		return span{}, corruptf("place of "+section, offset, "%d to %d in a file of %d bytes", start, end, fileSize)
	}
	return span{int64(start), int64(end)}, nil
}

// append adds header and info in the normal layout, info next to the header.
func (in *info) append(b []byte) []byte {
	le := binary.LittleEndian
	appendSpan := func(b []byte, s span) []byte {
		return le.AppendUint64(le.AppendUint64(b, uint64(s.start)), uint64(s.end))
	}
	b = append(b, magic...)
	b = append(b, version, 0, 0, byte(in.algorithm.Hash), in.algorithm.BlockBits)
	b = appendSpan(b, span{headerSize, headerSize + infoSize})
	b = appendSpan(b, in.streamRefs)
	b = appendSpan(b, in.objectRefs)
	b = appendSpan(b, in.stream)
	b = appendSpan(b, in.namedRefs)
	b = le.AppendUint64(b, uint64(in.contentType))
	return le.AppendUint64(b, uint64(in.size))
}
