package mount

import (
	"fmt"
	"os"
)

// Answer is what a probe found out.
type Answer string

// The answers. Unknown comes with the reason, most often that only root can try.
const (
	Yes     Answer = "yes"
	No      Answer = "no"
	Unknown Answer = "unknown"
)

// Names of capabilities: of the kernel, then of a directory's filesystem.
const (
	CapErofs         = "erofs"
	CapErofsFile     = "erofs-file"
	CapLoop          = "loop"
	CapOverlay       = "overlay"
	CapDataOnly      = "overlay-data-only"
	CapLayerFD       = "overlay-layer-fd"
	CapOverlayVerity = "overlay-verity"
	CapIDMap         = "idmap"
	CapUserNamespace = "user-namespace"
	CapUserOverlay   = "user-overlay"
	CapFUSE          = "fuse"

	CapVerity       = "fs-verity"
	CapReflink      = "reflink"
	CapTmpfile      = "tmpfile"
	CapTrustedXattr = "trusted-xattr"
)

// Capability is the answer to one question about the kernel or a directory.
type Capability struct {
	Name   string `json:"name"` // one of the Cap constants
	Answer Answer `json:"answer"`
	Detail string `json:"detail"` // what it means, in a sentence
	// Error is what the kernel said to the attempt; empty for Yes.
	Error string `json:"error,omitempty"`
}

// Capabilities are what this machine can do for composefs.
type Capabilities struct {
	Kernel []Capability `json:"kernel"`
	// Directory is the name of the directory that was asked about, and Filesystem what its
	// filesystem can do; both are empty if none was given.
	Directory  string       `json:"directory,omitempty"`
	Filesystem []Capability `json:"filesystem,omitempty"`
}

// Get returns the answer to one question; Unknown if it was not asked.
func (c Capabilities) Get(name string) Capability {
	for _, list := range [][]Capability{c.Kernel, c.Filesystem} {
		for _, one := range list {
			if one.Name == name {
				return one
			}
		}
	}
	return Capability{Name: name, Answer: Unknown, Detail: fmt.Sprintf("Nobody asked about %s.", name)}
}

// Probe finds out by trying what the kernel can do and, if dir is not nil, what the filesystem
// of the open directory can do: O_PATH is enough. It takes some milliseconds, mounts nothing
// that anybody could see and leaves nothing behind. Without root much of it stays unknown.
func Probe(dir *os.File) Capabilities { return probe(dir) }
