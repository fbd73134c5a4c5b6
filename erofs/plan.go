package erofs

import (
	"fmt"
	"path"
	"slices"

	"github.com/go-composefs/composefs/tree"
)

// A plan is everything about an image that must be known before its first byte is written:
// the inodes in their order, the attributes that several share, and where each inode lies.
// It is made in three steps: number, collectXattrs, place.
type plan struct {
	format Format
	root   *tree.Inode
	// rootChildren are the root's entries with the stubs added (V0 and V1).
	rootChildren []tree.Entry

	inodes []plannedInode // in image order
	// kids holds, for each directory, the positions in inodes of its children, in name
	// order; a directory's part starts at plannedInode.kids.
	kids []uint32
	// links maps each inode that has further hard links to its position in inodes.
	links map[*tree.Inode]uint32
	// externals and xattrs count the external files and the tree's attributes, so that the
	// attribute table need not grow.
	externals, xattrs int

	attrs     attrTable
	buildTime tree.Timespec

	// Set by place.
	inodesEnd uint64 // bytes; where the shared attributes start
	dataStart uint64 // bytes; where the data blocks start
	blocks    uint64 // size of the image in blocks
}

// plannedInode is one inode of the image to be. There may be millions: keep it small.
type plannedInode struct {
	node      *tree.Inode
	pos       uint64 // byte offset; nid = pos/32
	parent    uint32 // position of the directory of its own place
	kids      uint32 // directories: where its part of plan.kids starts
	refs      uint32 // where its part of plan.attrs.refs starts; it ends at the next inode's
	xattrSize uint32 // bytes of the xattr area
	blocks    uint32 // data blocks
	tail      uint16 // bytes after the xattr area
	flags     inodeFlags
}

type inodeFlags uint8

const (
	// flagStub marks a generated 00..ff entry of the root.
	flagStub inodeFlags = 1 << iota
	// flagWhiteout marks a whiteout of the tree, written as an empty regular file (V0, V1).
	flagWhiteout
	// flagHasWhiteouts marks the directory of such a whiteout.
	flagHasWhiteouts
	// flagExtended marks an inode that needs the 64-byte form.
	flagExtended
)

const noInode = ^uint32(0)

// newPlan checks the tree and settles the format.
func newPlan(root *tree.Inode, format Format) (*plan, error) {
	if root == nil || !root.IsDir() {
		return nil, fmt.Errorf("/: %w: the root is not a directory", ErrTree)
	}
	p := &plan{format: format, root: root, links: map[*tree.Inode]uint32{}}
	entries, whiteouts, err := p.survey()
	if err != nil {
		return nil, err
	}
	if p.format == FormatAuto {
		p.format = FormatV0
		if whiteouts {
			p.format = FormatV1
		}
	}
	p.rootChildren = root.Children
	if p.format != FormatV2 {
		p.addStubs()
		entries += len(p.rootChildren) - len(root.Children)
	}
	if int64(entries) > 1<<31 {
		return nil, fmt.Errorf("%w: %d files", ErrLimit, entries)
	}
	p.inodes = make([]plannedInode, 0, entries)
	p.kids = make([]uint32, 0, entries)
	return p, nil
}

// survey walks the whole tree once: it checks its shape, counts the entries with the root,
// and notes hard links and whether there are whiteouts.
func (p *plan) survey() (entries int, whiteouts bool, err error) {
	dirs := []*tree.Inode{p.root}
	seen := map[*tree.Inode]struct{}{p.root: {}}
	entries = 1
	for len(dirs) > 0 {
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		entries += len(dir.Children)
		last := ""
		for i := range dir.Children {
			e := &dir.Children[i]
			if err := tree.CheckName(e.Name); err != nil {
				return 0, false, fmt.Errorf("%w: %w", ErrTree, err)
			}
			if e.Name <= last {
				return 0, false, fmt.Errorf("%w: entry %q is out of order", ErrTree, e.Name)
			}
			last = e.Name
			n := e.Inode
			if n == nil {
				return 0, false, fmt.Errorf("%w: entry %q has no inode", ErrTree, e.Name)
			}
			p.xattrs += len(n.Xattrs)
			switch {
			case n.IsDir():
				if _, twice := seen[n]; twice || e.Link {
					return 0, false, fmt.Errorf("%w: directory %q is in two places", ErrTree, e.Name)
				}
				seen[n] = struct{}{}
				dirs = append(dirs, n)
			case e.Link:
				p.links[n] = noInode
			case n.IsWhiteout():
				whiteouts = true
			case n.IsExternal():
				p.externals++
			}
		}
	}
	return entries, whiteouts, nil
}

// addStubs adds the root entries 00 to ff that are not there yet. As whiteouts they hide the
// object directories on kernels whose overlayfs has no data-only layers
// (pinned by TestVectors/names-around-dots).
func (p *plan) addStubs() {
	stub := tree.Inode{
		Mode: tree.TypeChar | 0o644, Nlink: 1,
		UID: p.root.UID, GID: p.root.GID, Mtime: p.root.Mtime,
	}
	if label, ok := p.root.Xattr("security.selinux"); ok {
		stub.Xattrs = []tree.Xattr{{Name: "security.selinux", Value: label}}
	}
	stubs := make([]tree.Inode, 256)
	p.rootChildren = slices.Grow(slices.Clone(p.root.Children), 256)
	for i := range stubs {
		name := fmt.Sprintf("%02x", i)
		if _, taken := p.root.Find(name); taken {
			continue
		}
		stubs[i] = stub
		p.rootChildren = append(p.rootChildren, tree.Entry{Name: name, Inode: &stubs[i]})
	}
	slices.SortFunc(p.rootChildren, func(a, b tree.Entry) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
}

// children returns the entries of the directory at position i, without "." and "..".
func (p *plan) children(i uint32) []tree.Entry {
	if i == 0 {
		return p.rootChildren
	}
	return p.inodes[i].node.Children
}

// number puts the inodes in image order. V0 and V1 go breadth first, an inode being numbered
// at its own place; V2 goes depth first, and a hard-linked inode is numbered where it is met
// first.
func (p *plan) number() error {
	if p.format == FormatV2 {
		p.numberDepthFirst()
	} else {
		p.numberBreadthFirst()
	}
	for n, at := range p.links {
		if at == noInode {
			return fmt.Errorf("%w: a hard link of mode %o leads to no file of the tree", ErrTree, n.Mode)
		}
	}
	p.settleLinks()
	return nil
}

// add appends an inode, notes it for its hard links, and returns its position.
func (p *plan) add(n *tree.Inode, parent uint32) uint32 {
	at := uint32(len(p.inodes))
	p.inodes = append(p.inodes, plannedInode{node: n, parent: parent})
	if len(p.links) > 0 {
		if _, linked := p.links[n]; linked {
			p.links[n] = at
		}
	}
	return at
}

func (p *plan) numberBreadthFirst() {
	p.add(p.root, 0)
	for at := uint32(0); at < uint32(len(p.inodes)); at++ { //nolint:intrange // the loop adds inodes
		if !p.inodes[at].node.IsDir() {
			continue
		}
		p.inodes[at].kids = uint32(len(p.kids))
		entries := p.children(at)
		for i := range entries {
			n := entries[i].Inode
			if entries[i].Link {
				p.kids = append(p.kids, noInode)
				continue
			}
			kid := p.add(n, at)
			p.kids = append(p.kids, kid)
			if !n.IsWhiteout() {
				continue
			}
			if at == 0 && p.isStub(&entries[i]) {
				p.inodes[kid].flags |= flagStub
			} else {
				p.inodes[kid].flags |= flagWhiteout
				p.inodes[at].flags |= flagHasWhiteouts
			}
		}
	}
}

// isStub says whether a whiteout in the root was made by addStubs.
func (p *plan) isStub(e *tree.Entry) bool {
	_, own := p.root.Find(e.Name)
	return !own
}

func (p *plan) numberDepthFirst() {
	type level struct{ at, next uint32 }
	enter := func(at uint32) level {
		p.inodes[at].kids = uint32(len(p.kids))
		for range p.children(at) {
			p.kids = append(p.kids, noInode)
		}
		return level{at: at}
	}
	stack := []level{enter(p.add(p.root, 0))}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		entries := p.children(top.at)
		if int(top.next) == len(entries) {
			stack = stack[:len(stack)-1]
			continue
		}
		slot := p.inodes[top.at].kids + top.next
		n := entries[top.next].Inode
		top.next++
		if at, linked := p.links[n]; linked && at != noInode {
			continue // numbered already; settleLinks fills the slot
		}
		kid := p.add(n, top.at)
		p.kids[slot] = kid
		if n.IsDir() {
			stack = append(stack, enter(kid))
		}
	}
}

// settleLinks points the entries that are further hard links to their inodes.
func (p *plan) settleLinks() {
	if len(p.links) == 0 {
		return
	}
	for at := range p.inodes {
		in := &p.inodes[at]
		if !in.node.IsDir() {
			continue
		}
		for i, e := range p.children(uint32(at)) {
			if slot := &p.kids[in.kids+uint32(i)]; *slot == noInode {
				*slot = p.links[e.Inode]
			}
		}
	}
}

// path returns the path of the inode at position i, for errors.
func (p *plan) path(i uint32) string {
	name := "/"
	for i != 0 {
		parent := p.inodes[i].parent
		for k, e := range p.children(parent) {
			if p.kids[p.inodes[parent].kids+uint32(k)] == i {
				name = path.Join("/", e.Name, name)
				break
			}
		}
		i = parent
	}
	return name
}
