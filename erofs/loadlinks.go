package erofs

import (
	"slices"

	"github.com/go-composefs/composefs/tree"
)

// What is settled when all inodes are loaded: which entry is an inode's own place, and which
// files were whiteouts, for a whiteout is one by its own place.

// droppedEntry is where an entry of the image would be in the tree.
type droppedEntry struct {
	nid   uint64
	dir   int // number of the directory
	child int // index of the child that it would be before
}

// settleWhiteouts turns the files that the writer made of whiteouts back, and takes its marks
// off their directories. A file that has the look by its own attributes, in a directory
// without the marks, stays what it is.
func (l *loader) settleWhiteouts() {
	for _, dir := range l.marked {
		found := false
		for _, e := range dir.Children {
			if _, masked := l.maskedWhiteouts[e.Inode]; masked && !e.Link {
				found = true
				l.unmask(e.Inode)
			}
		}
		if found {
			l.dropMarks(dir)
		}
	}
}

// unmask turns a file into the whiteout that the writer made it of.
func (l *loader) unmask(node *tree.Inode) {
	node.Mode = tree.TypeChar | node.Perm()
	l.dropXattr(node, xattrOverlay+"whiteout")
	l.dropXattr(node, xattrUserWhiteout)
}

// dropMarks takes the marks that a directory has for its whiteouts off. The opaque ones stay:
// they may be the tree's own, and are set again in any case.
func (l *loader) dropMarks(dir *tree.Inode) {
	l.dropXattr(dir, xattrOverlay+"whiteouts")
	l.dropXattr(dir, xattrUserWhiteouts)
}

func (l *loader) dropXattr(node *tree.Inode, name string) {
	node.RemoveXattr(name)
	if order, ok := l.opts.XattrOrder[node]; ok {
		l.opts.XattrOrder[node] = slices.DeleteFunc(order, func(x tree.Xattr) bool { return x.Name == name })
	}
}

// settleLinks finds the own place of each inode. The writer numbers inodes breadth first by
// their own places, so that in the same walk over the image an entry is the own place of its
// inode if all inodes before it have been met. Where that leads nowhere, as in V2, whose order
// is depth first, the own place is what comes first in depth-first order
// (pinned by TestTreeIsFixedPoint).
func (l *loader) settleLinks(root *tree.Inode) {
	if !l.linked {
		return
	}
	nids := l.byNid.appendNids(make([]uint64, 0, l.byNid.count+len(l.dropped)))
	for _, e := range l.dropped {
		nids = append(nids, e.nid)
	}
	slices.Sort(nids)
	if l.byNid.get(nids[0]) == root && l.walkInOrder(nids[1:]) {
		return
	}
	tree.SettleLinks(root)
}

// walkInOrder walks breadth first and takes each entry that leads to the first of nids, which
// then goes, for the own place of its inode. It reports whether none is left.
func (l *loader) walkInOrder(nids []uint64) bool {
	dropped := l.dropped
	for at := range l.dirs {
		children := l.dirs[at].node.Children
		for i := range len(children) + 1 {
			for len(dropped) > 0 && dropped[0].dir == at && dropped[0].child == i {
				if len(nids) > 0 && nids[0] == dropped[0].nid {
					nids = nids[1:]
				}
				dropped = dropped[1:]
			}
			if i == len(children) {
				break
			}
			e := &children[i]
			own := len(nids) > 0 && l.byNid.get(nids[0]) == e.Inode
			if own {
				nids = nids[1:]
			}
			e.Link = !own && !e.Inode.IsDir()
		}
	}
	return len(nids) == 0
}
