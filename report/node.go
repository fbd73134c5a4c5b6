package report

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// Node is a directory or file of an image, or what is too small in a directory to be shown.
type Node struct {
	Name      string  `json:"n"` // of a directory with nothing but one other: both, with a slash
	Kind      Kind    `json:"k"`
	Stored    int64   `json:"s"` // bytes of objects in it
	Exclusive int64   `json:"e"` // of these, which no other image needs
	Files     int     `json:"f"` // how many files are in it
	Children  []*Node `json:"c,omitempty"`
}

// Kind is what a node stands for.
type Kind string

// The kinds.
const (
	Directory Kind = "d"
	File      Kind = "f"
	Small     Kind = "s" // what is too small to be shown
	Metadata  Kind = "m" // the image itself
)

// What is shown of an image: nodes of more than a part of it, so many of a directory, so deep.
const (
	shownPart   = 1000
	maxChildren = 60
	maxDepth    = 64
)

// newNode makes the nodes of a tree, with one for the image itself, which has size bytes; all together
// are stored bytes.
func newNode(root *tree.Inode, size, stored int64, exclusive func(fsverity.Digest) bool) *Node {
	seen := map[fsverity.Digest]struct{}{}
	var open []*Node // the directory that is walked through, and those that it is in
	leave := func(depth int) {
		for len(open) > depth {
			last := len(open) - 1
			n := open[last]
			open = open[:last]
			n.finish(stored, last)
			if last > 0 {
				open[last-1].add(n)
			}
		}
	}
	top := &Node{Name: "/", Kind: Directory}
	for path, e := range tree.Walk(root) {
		if e.Inode == root {
			open = append(open, top)
			continue
		}
		leave(bytes.Count(path, []byte("/")))
		n := &Node{Name: e.Name, Kind: File}
		if e.Inode.IsDir() {
			n.Kind = Directory
			open = append(open, n)
			continue
		}
		if e.Inode.IsRegular() && !e.Link {
			n.Files = 1
			n.count(e.Inode, seen, exclusive)
		}
		open[len(open)-1].add(n)
	}
	leave(1)
	top.add(&Node{Name: "the image itself", Kind: Metadata, Stored: size, Exclusive: size})
	top.finish(stored, 0)
	return top
}

// count counts the object of a file, unless a file before it has the same.
func (n *Node) count(file *tree.Inode, seen map[fsverity.Digest]struct{}, exclusive func(fsverity.Digest) bool) {
	if file.Digest.IsZero() {
		return
	}
	if _, again := seen[file.Digest]; again {
		return
	}
	seen[file.Digest] = struct{}{}
	n.Stored = int64(file.Size)
	if exclusive(file.Digest) {
		n.Exclusive = n.Stored
	}
}

// add sums a node up in its directory, and keeps it unless it is nothing.
func (n *Node) add(child *Node) {
	n.Stored += child.Stored
	n.Exclusive += child.Exclusive
	n.Files += child.Files
	if child.Stored > 0 {
		n.Children = append(n.Children, child)
	}
}

// finish decides what of a directory is shown.
func (n *Node) finish(stored int64, depth int) {
	if depth >= maxDepth {
		n.Children = nil
		return
	}
	slices.SortStableFunc(n.Children, func(a, b *Node) int { return cmp.Compare(b.Stored, a.Stored) })
	small := &Node{Kind: Small}
	for i, child := range n.Children {
		if i >= maxChildren || child.Kind != Metadata && child.Stored*shownPart < stored {
			for _, rest := range n.Children[i:] {
				small.Stored += rest.Stored
				small.Exclusive += rest.Exclusive
				small.Files += rest.Files
			}
			n.Children = append(n.Children[:i:i], small)
			break
		}
	}
	if len(n.Children) == 1 && n.Children[0].Kind == Small {
		n.Children = nil
	}
	if only := n.Children; len(only) == 1 && only[0].Kind == Directory && depth > 0 {
		n.Name += "/" + only[0].Name
		n.Children = only[0].Children
	}
}
