package flatten

import (
	"slices"
	"strings"

	"github.com/go-composefs/composefs/tree"
)

// Mode is a transform of the tree of an image.
type Mode int

const (
	// ModeCanonical copies the metadata of /usr to the root, empties /run and gives it the time of /usr,
	// and keeps no extended attributes but security.capability. It is what composefs-rs does by default.
	ModeCanonical Mode = iota
	// ModeUserXattrs is the same, but for attributes user.*, which stay.
	ModeUserXattrs
	// ModeNone changes nothing.
	ModeNone
)

// Canonical transforms a tree in place. Without a directory /usr, where composefs-rs fails, the root
// keeps its metadata, and /run gets the root's time.
func Canonical(root *tree.Inode, mode Mode) {
	if mode == ModeNone {
		return
	}
	if usr := root.Lookup("usr"); usr != nil && usr.IsDir() {
		root.Mode, root.UID, root.GID, root.Mtime, root.Xattrs = usr.Mode, usr.UID, usr.GID, usr.Mtime, slices.Clone(usr.Xattrs)
	}
	if run := root.Lookup("run"); run != nil && run.IsDir() {
		run.Children = nil
		run.Mtime = root.Mtime
	}
	countLinks(root)
	for _, e := range tree.Walk(root) {
		if e.Link {
			continue
		}
		e.Inode.Xattrs = slices.DeleteFunc(e.Inode.Xattrs, func(x tree.Xattr) bool {
			return x.Name != "security.capability" && (mode != ModeUserXattrs || !strings.HasPrefix(x.Name, "user."))
		})
	}
}

// countLinks counts the names of files anew, some of which are gone.
func countLinks(root *tree.Inode) {
	for _, e := range tree.Walk(root) {
		if !e.Inode.IsDir() {
			e.Inode.Nlink = 0
		}
	}
	for _, e := range tree.Walk(root) {
		if !e.Inode.IsDir() {
			e.Link = e.Inode.Nlink > 0
			e.Inode.Nlink++
		}
	}
}
