package erofs

import (
	"fmt"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// A composefs image is made to be the metadata layer of an overlayfs mount:
//
//	the tree                     the image
//	file in the store            chunk-based without data; trusted.overlay.metacopy = digest,
//	                             trusted.overlay.redirect = "/" + path in the store
//	trusted.overlay.X            trusted.overlay.overlay.X
//	whiteout (char 0:0)          V0, V1: empty file, trusted.overlay.overlay.whiteout and
//	                             user.overlay.whiteout; its directory has …whiteouts, and in
//	                             V1 …opaque = x
//	                             V2: as it is
//	root                         trusted.overlay.opaque = y, and whiteouts 00 to ff (not V2)
//
// The value of metacopy is empty, or version 0, length, flags 0, hash, digest
// (struct ovl_metacopy of the kernel, fs/overlayfs/overlayfs.h).

const metacopyHeaderSize = 4

// parseMetacopy returns the digest, zero if there is none; reason is not empty if it is wrong.
func parseMetacopy(value []byte) (digest fsverity.Digest, reason string) {
	if len(value) == 0 {
		return fsverity.Digest{}, ""
	}
	if len(value) < metacopyHeaderSize || value[0] != 0 || int(value[1]) != len(value) || value[2] != 0 {
		return fsverity.Digest{}, fmt.Sprintf("the head of %s is % x in %d bytes", xattrMetacopy, value[:min(len(value), metacopyHeaderSize)], len(value))
	}
	digest, err := fsverity.DigestFromBytes(value[metacopyHeaderSize:])
	if err != nil || byte(digest.Hash()) != value[3] {
		return fsverity.Digest{}, fmt.Sprintf("%s has hash %d and %d bytes of digest", xattrMetacopy, value[3], len(value)-metacopyHeaderSize)
	}
	return digest, ""
}

// escapes says whether the image's format has no whiteouts but those that the writer adds.
func (img *Image) escapes() bool {
	return img.head.format == FormatV0 || img.head.format == FormatV1
}

// isExternal says whether an inode of a composefs image stands for a file in the store.
func (in *Inode) isExternal() bool {
	return in.IsRegular() && in.Layout == LayoutChunked && in.Size > 0
}

// parseRedirect takes the slash off that separates the path from the layer's root.
func parseRedirect(value string) (path, reason string) {
	path, ok := strings.CutPrefix(value, "/")
	if !ok || path == "" || len(path) > tree.MaxTarget || strings.IndexByte(path, 0) >= 0 {
		return "", fmt.Sprintf("%s has no absolute path of at most %d bytes", xattrRedirect, tree.MaxTarget)
	}
	return path, ""
}

// unescapeOverlay undoes the renaming of an attribute; keep is false for one that is
// overlayfs's own and not the tree's.
func unescapeOverlay(name string) (original string, keep bool) {
	if !strings.HasPrefix(name, xattrOverlay) {
		return name, true
	}
	if rest, ok := strings.CutPrefix(name, xattrOverlayEscaped); ok {
		return xattrOverlay + rest, true
	}
	return "", false
}
