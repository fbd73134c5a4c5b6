package mount

import (
	"fmt"

	"github.com/go-composefs/composefs/fsverity"
)

// Verity says whether the kernel checks external files against the digests that the image has
// for them.
type Verity uint8

const (
	// VerityOff checks nothing: whoever can write to the object directory can change files.
	VerityOff Verity = iota
	// VerityTry is VerityRequire where the kernel and the filesystems of all object
	// directories can do it, else VerityOff. [Mount.State] tells which.
	VerityTry
	// VerityRequire lets a file be opened only if its object has fs-verity enabled with
	// the digest that the image says, and the image says one. Changed bytes give EIO.
	VerityRequire
)

// String returns "off", "try" or "require".
func (v Verity) String() string {
	switch v {
	case VerityOff:
		return "off"
	case VerityTry:
		return "try"
	case VerityRequire:
		return "require"
	}
	return fmt.Sprintf("verity-%d", v)
}

// MarshalText implements [encoding.TextMarshaler].
func (v Verity) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]: the names of [Verity.String].
func (v *Verity) UnmarshalText(text []byte) error {
	for _, known := range []Verity{VerityOff, VerityTry, VerityRequire} {
		if known.String() == string(text) {
			*v = known
			return nil
		}
	}
	return fmt.Errorf("unknown verity mode %q: want off, try or require", text)
}

// DigestOrigin says how much a digest of an image is worth.
type DigestOrigin string

const (
	// DigestMeasured is the kernel's word: the image has fs-verity, its bytes cannot
	// change.
	DigestMeasured DigestOrigin = "kernel"
	// DigestComputed was true of the image's bytes when it was mounted.
	DigestComputed DigestOrigin = "computed"
)

// State is what came of the options of a mount.
type State struct {
	// Verity is what the kernel does: VerityOff or VerityRequire.
	Verity Verity `json:"verity"`
	// VerityReason says why VerityTry came out as VerityOff; else it is empty.
	VerityReason string `json:"verity_reason,omitempty"`
	// Digest is that of the image; zero if the image has no fs-verity and no digest was
	// expected.
	Digest fsverity.Digest `json:"digest,omitzero"`
	// DigestOrigin is empty if Digest is zero.
	DigestOrigin DigestOrigin `json:"digest_origin,omitempty"`
	// LoopDevice is the device that carries the image; empty if the kernel reads the file
	// itself. It goes away with the mount.
	LoopDevice string `json:"loop_device,omitempty"`
}
