package flatten

import (
	"maps"
	"slices"

	"github.com/go-composefs/composefs/tree"
)

// node is a name in the tree. Children are in a map, for entries come in any order.
type node struct {
	inode    *tree.Inode // shared by hard links
	children map[string]*node

	layer   int32 // that brought the name with its metadata
	touched int32 // the last one that has it, or something below it
	cleared int32 // the last one that removed from it all that lower ones have

	whiteout bool // one that stands for itself, see Layer
	opaque   bool // the same of an opaque one
}

// newImplied returns a directory that no entry tells of.
func newImplied(layer int32) *node {
	return &node{inode: impliedInode(), layer: layer, touched: layer}
}

func impliedInode() *tree.Inode { return &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 1} }

func (n *node) put(name string, child *node) {
	if n.children == nil {
		n.children = map[string]*node{}
	}
	n.children[name] = child
}

// clear removes what layers below that of the given number brought into a directory.
func (n *node) clear(layer int32) {
	if n.cleared == layer {
		return // there has been nothing but this layer's since then
	}
	n.cleared = layer
	for name, child := range n.children {
		n.hide(name, child, layer)
	}
}

// hide removes what lower layers have of one name in a directory: all of it, or what is not this layer's.
func (n *node) hide(name string, child *node, layer int32) {
	switch {
	case child.touched < layer:
		delete(n.children, name)
	case child.inode.IsDir():
		if child.layer < layer { // it is here because of what is below it
			child.inode, child.layer = impliedInode(), layer
		}
		child.clear(layer)
	}
}

// finish makes the tree of a directory, and gives up the node's own.
func (n *node) finish() *tree.Inode {
	dir := n.inode
	if n.opaque {
		dir.SetXattr("trusted.overlay.opaque", "y")
	}
	names := slices.Sorted(maps.Keys(n.children))
	dir.Children = make([]tree.Entry, len(names))
	for i, name := range names {
		child := n.children[name]
		if child.inode.IsDir() {
			dir.Children[i] = tree.Entry{Name: name, Inode: child.finish()}
			continue
		}
		// The order is that of tree.SettleLinks.
		dir.Children[i] = tree.Entry{Name: name, Inode: child.inode, Link: child.inode.Nlink > 0}
		child.inode.Nlink++
	}
	n.children = nil
	return dir
}
