package mount

import "github.com/go-composefs/composefs/fsverity"

// Info is a composefs mount as the kernel tells it. What was mounted by other programs, or by
// ways of older kernels, can tell less: then Unknown names the fields.
type Info struct {
	Target string `json:"target"` // mount point
	ID     uint64 `json:"id"`     // mount number, as in /proc/self/mountinfo
	// Source is what df(1) shows.
	Source string `json:"source"`
	// Image is the image's name when it was mounted: a path unless the mounter chose a
	// name. It may be gone or be another file by now.
	Image  string          `json:"image,omitempty"`
	Digest fsverity.Digest `json:"digest,omitzero"`
	// DigestOrigin is empty if Digest is zero.
	DigestOrigin DigestOrigin `json:"digest_origin,omitempty"`
	// Objects are the object directories, in the order of search.
	Objects []string `json:"objects,omitempty"`
	// Verity is overlayfs's own word: "off", "require", or "on", which checks the files
	// that have a digest.
	Verity   string `json:"verity"`
	ReadOnly bool   `json:"read_only"`
	Upper    string `json:"upper,omitempty"`
	Work     string `json:"work,omitempty"`
	Volatile bool   `json:"volatile,omitempty"`
	// Options are the flags of this mount: ro or rw, nosuid, …
	Options []string `json:"options"`
	// Unknown names what cannot be read back: "image", "digest", "objects".
	Unknown []string `json:"unknown,omitempty"`
}

// UnmountOptions say how a mount is taken down.
type UnmountOptions struct {
	// Lazy takes the mount out of sight at once even if it is in use, and the rest down
	// when it no longer is.
	Lazy bool
}

// List returns the composefs mounts of the mount namespace, in the order of mounting: ours and
// those of other implementations.
func List() ([]Info, error) { return list() }

// Unmount takes down the composefs mount whose root is target, the topmost if there are
// several, with everything that was set up for it. Symbolic links are followed. Where no
// composefs mount is, it touches nothing and returns [ErrNotMounted].
func Unmount(target string, opts UnmountOptions) error { return unmount(target, opts) }
