package splitstream

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// ContentType says what a stream is: eight bytes, mostly ASCII, read as a little-endian
// integer.
type ContentType uint64

// The content types of composefs-rs 0.9.
const (
	Layer         ContentType = 0x726579616c69636f // "ocilayer": a layer's uncompressed tar
	Config        ContentType = 0x67666e6f6369636f // "ociconfg": an image configuration, JSON
	Manifest      ContentType = 0x66696e616d69636f // "ocimanif": an image manifest, JSON
	Blob          ContentType = 0x626f6c625f69636f // "oci_blob": a layer that is no tar
	Index         ContentType = 0x0078646e6969636f // "ociindx": an image index, JSON; planned there
	OSTreeCommit  ContentType = 0xafe138c18c463ef1 // an ostree commit with its objects
	OSTreeSummary ContentType = 0x7972616d6d75736f // "osummary": a cached ostree summary
)

// String returns the ASCII bytes, without NULs at the end, or hexadecimal if others are among
// them.
func (t ContentType) String() string {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(t))
	s := strings.TrimRight(string(b[:]), "\x00")
	if s == "" || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return fmt.Sprintf("%#016x", uint64(t))
	}
	return s
}
