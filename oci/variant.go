package oci

import (
	"fmt"
	"strings"

	"github.com/go-composefs/composefs/erofs"
)

// Transform says how the tree of an image's layers becomes that of its composefs image.
type Transform string

const (
	// TransformCanonical is composefs-rs's: the metadata of the root are those of /usr, /run is empty,
	// and of extended attributes only security.capability stays. The same image then has the same
	// digest, whether it was pulled or scanned where it is mounted.
	TransformCanonical Transform = "canonical"
	// TransformUserXattrs is the same, and user.* attributes stay.
	TransformUserXattrs Transform = "keep-user-xattrs"
	// TransformNone leaves the tree as the layers say.
	TransformNone Transform = "none"
)

// Set makes a Transform an option of a command line.
func (t *Transform) Set(s string) error {
	switch Transform(s) {
	case TransformCanonical, TransformUserXattrs, TransformNone:
		*t = Transform(s)
		return nil
	}
	return fmt.Errorf("unknown transform %q: want %s, %s or %s", s, TransformCanonical, TransformUserXattrs, TransformNone)
}

// String returns the transform's name.
func (t *Transform) String() string { return string(*t) }

// Type names the kind of value for usage messages.
func (*Transform) Type() string { return "WORD" }

// Variant is one of the composefs images that an image can have. The zero value is the canonical one of
// format V0.
type Variant struct {
	Format    erofs.Format
	Bootable  bool // /boot and /sysroot are empty, and files are labelled for SELinux
	Transform Transform
}

// variantPrefix is what named refs of a config begin with that are composefs images.
const variantPrefix = "composefs.image"

// isVariant says whether a named ref of a config is a composefs image.
func isVariant(name string) bool {
	return name == variantPrefix || strings.HasPrefix(name, variantPrefix+".")
}

// key returns the named ref of the config that stands for the variant. Those of canonical images, and of
// bootable ones that keep user.* attributes, are composefs-rs's.
func (v Variant) key() string {
	key := variantPrefix
	if v.Bootable {
		key += ".boot"
	}
	if v.Format != erofs.FormatV2 {
		key += ".v1" // V0 is the same layout with another version
	}
	switch v.Transform {
	case TransformUserXattrs:
		key += ".xattrs=keep-user-xattrs"
	case TransformNone:
		key += ".transform=none"
	case TransformCanonical:
	}
	return key
}

// String describes the variant for people.
func (v Variant) String() string {
	words := []string{v.Format.String()}
	if v.Bootable {
		words = append(words, "bootable")
	}
	if v.Transform != "" && v.Transform != TransformCanonical {
		words = append(words, string(v.Transform))
	}
	return strings.Join(words, " ")
}
