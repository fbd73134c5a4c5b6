package mount

import (
	"encoding/hex"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
)

// The overlay's source is free text that the kernel keeps and shows. The C implementation
// writes just the word, composefs-rs a colon and a name behind it; we write
//
//	composefs:IMAGE[@DIGEST|~DIGEST]
//
// with @ for a digest that the kernel measured and ~ for one that the mounter computed. In
// IMAGE the bytes %, @, ~ and control characters are %XX.
const (
	sourceWord     = "composefs"
	sourceMeasured = '@'
	sourceComputed = '~'
)

// stringMax is what fsconfig(2) takes of a string: 256 bytes with the NUL, see
// SYSCALL_DEFINE5(fsconfig) in the kernel's fs/fsopen.c.
const stringMax = 255

// formatSource says what was mounted. An image whose name makes the text too long is left out.
func formatSource(image string, digest fsverity.Digest, origin DigestOrigin) string {
	tail := ""
	switch {
	case digest.IsZero():
	case origin == DigestMeasured:
		tail = string(sourceMeasured) + digest.String()
	default:
		tail = string(sourceComputed) + digest.String()
	}
	name := escapeSource(image)
	if len(sourceWord)+1+len(name)+len(tail) > stringMax {
		name = ""
	}
	if name == "" && tail == "" {
		return sourceWord
	}
	return sourceWord + ":" + name + tail
}

// parseSource undoes formatSource. What the source does not say is returned as zero; ok is
// false if it is not that of a composefs mount.
func parseSource(source string) (image string, digest fsverity.Digest, origin DigestOrigin, ok bool) {
	if source == sourceWord {
		return "", fsverity.Digest{}, "", true
	}
	rest, ok := strings.CutPrefix(source, sourceWord+":")
	if !ok {
		return "", fsverity.Digest{}, "", false
	}
	if i := strings.LastIndexAny(rest, string(sourceMeasured)+string(sourceComputed)); i >= 0 {
		if d, err := fsverity.ParseDigest(rest[i+1:]); err == nil {
			digest, origin = d, DigestMeasured
			if rest[i] == sourceComputed {
				origin = DigestComputed
			}
			rest = rest[:i]
		}
	}
	return unescapeSource(rest), digest, origin, true
}

func escapeSource(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c == 0x7f || c == '%' || c == sourceMeasured || c == sourceComputed {
			b.WriteByte('%')
			b.WriteString(hex.EncodeToString([]byte{c}))
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// unescapeSource leaves a % alone that is not followed by two hex digits: other programs do
// not escape.
func unescapeSource(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				b.Write(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
