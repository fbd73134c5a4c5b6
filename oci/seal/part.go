package seal

import (
	"fmt"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
)

// Part is what of an image a digest is of.
type Part uint8

// The parts, in the order of the chain: the manifest names the configuration and layers, the
// configuration and layers make the trees. An artifact has them in this order as well.
const (
	Manifest Part = iota + 1 // the manifest, byte for byte
	Config                   // the configuration, byte for byte
	Layer                    // the EROFS image of one layer
	Merged                   // the EROFS image of all layers
	Bootable                 // the EROFS image of all layers as it is booted
)

const (
	keyPrefix = "composefs."
	keyFormat = ".erofs.v1"
	sigSuffix = ".sig"
)

var parts = []Part{Manifest, Config, Layer, Merged, Bootable}

// String returns the role that the part has in annotations: "merged.bootable" for [Bootable].
func (p Part) String() string {
	switch p {
	case Manifest:
		return "manifest"
	case Config:
		return "config"
	case Layer:
		return "layer"
	case Merged:
		return "merged"
	case Bootable:
		return "merged.bootable"
	}
	return fmt.Sprintf("part-%d", uint8(p))
}

// ParsePart reads what [Part.String] writes, and "bootable".
func ParsePart(s string) (Part, error) {
	if s == "bootable" {
		return Bootable, nil
	}
	for _, p := range parts {
		if p.String() == s {
			return p, nil
		}
	}
	return 0, fmt.Errorf("%w: no part of an image is called %q", ErrMalformed, s)
}

// MarshalText implements [encoding.TextMarshaler].
func (p Part) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler] by [ParsePart].
func (p *Part) UnmarshalText(text []byte) error {
	parsed, err := ParsePart(string(text))
	if err == nil {
		*p = parsed
	}
	return err
}

// isImage says whether the digest is of an EROFS image, whose format the annotation names.
func (p Part) isImage() bool { return p == Layer || p == Merged || p == Bootable }

// Key returns the annotation that holds the part's digest.
func (p Part) Key(alg fsverity.Algorithm) string {
	format := ""
	if p.isImage() {
		format = keyFormat
	}
	return keyPrefix + p.String() + format + "." + alg.String()
}

// SignatureKey returns the annotation that holds the part's signature inline.
func (p Part) SignatureKey(alg fsverity.Algorithm) string { return p.Key(alg) + sigSuffix }

// ParseKey reads an annotation's name. It is not ok if it is none of this package, which those of
// later formats and algorithms are not either.
func ParseKey(key string) (p Part, alg fsverity.Algorithm, signature, ok bool) {
	name, signature := strings.CutSuffix(key, sigSuffix)
	at := strings.LastIndex(name, ".fsverity-")
	if at < 0 {
		return 0, alg, false, false
	}
	alg, err := fsverity.ParseAlgorithm(name[at+1:])
	if err != nil {
		return 0, alg, false, false
	}
	for _, p := range parts {
		if p.Key(alg) == name {
			return p, alg, signature, true
		}
	}
	return 0, alg, false, false
}
