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

// External says where the content of a regular file of a composefs image is.
type External struct {
	Digest  fsverity.Digest // zero if the image has none
	Backing string          // path in the store; empty if the image has none
}

// External returns where the content of an inode is; ok is false if it is not in the store.
func (in *Inode) External() (ext External, ok bool, err error) {
	if !in.img.head.present || !in.isExternal() {
		return External{}, false, nil
	}
	for x, err := range in.Xattrs() {
		if err != nil {
			return External{}, true, err
		}
		reason := ""
		switch x.Name {
		case xattrMetacopy:
			ext.Digest, reason = parseMetacopy([]byte(x.Value))
		case xattrRedirect:
			ext.Backing, reason = parseRedirect(x.Value)
		}
		if reason != "" {
			return External{}, true, corruptf(in.Nid, in.pos, "%s", reason)
		}
	}
	return ext, true, nil
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
