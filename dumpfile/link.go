package dumpfile

import "github.com/go-composefs/composefs/tree"

// hardLink is a link whose target is looked for when all lines are read: it may come later.
// Until then a stub stands in the inode's place: an inode without a file type, which no line
// can make, whose size is the link's position in the list.
type hardLink struct {
	line   int
	dir    *tree.Inode
	name   string
	target string
}

func isStub(n *tree.Inode) bool { return n.Type() == 0 }

// addLink adds a hard link. Of its line only path, mode and payload mean something; composefs-rs
// leaves the rest out.
func (b *builder) addLink(path []byte, mode uint32) error {
	stub := b.stubs.inode()
	stub.Size = uint64(len(b.links))
	dir, err := b.place(path, mode, tree.Entry{Inode: stub, Link: true})
	if err != nil {
		return err
	}
	if mode&tree.TypeMask == tree.TypeDir {
		return b.errorf("mode", "Directories can't be hardlinked")
	}
	if isNone(b.fields[fieldPayload]) {
		return b.errorf("payload", "No target path for the hardlink")
	}
	target, err := b.text(&b.payload, fieldPayload)
	if err != nil {
		return err
	}
	b.links = append(b.links, hardLink{
		line:   b.line,
		dir:    dir,
		name:   dir.Children[len(dir.Children)-1].Name,
		target: b.arena.string(target),
	})
	return nil
}

// resolveLinks puts the files in the places of the stubs. A link may lead to other links.
func (b *builder) resolveLinks() error {
	files := make([]*tree.Inode, len(b.links))
	visited := make([]bool, len(b.links))
	var way []int
	for i := range b.links {
		at := i
		for way = way[:0]; files[at] == nil; {
			visited[at] = true
			way = append(way, at)
			l := &b.links[at]
			n, err := tree.Resolve(b.root, l.target)
			if err != nil {
				return b.errorAt(l.line, "payload", "No target at %s for hardlink", quote(l.target))
			}
			switch {
			case isStub(n) && n.Size == uint64(at):
				return b.errorAt(l.line, "payload", "Self-referential hardlink %s", quote(l.target))
			case isStub(n):
				at = int(n.Size)
				if visited[at] && files[at] == nil {
					return b.errorAt(l.line, "payload", "hard links in a circle: %s", quote(l.target))
				}
			case n.IsDir():
				return b.errorAt(l.line, "payload", "Directories can't be hardlinked: %s", quote(l.target))
			default:
				files[at] = n
			}
		}
		for _, passed := range way {
			files[passed] = files[at]
		}
	}
	for i, l := range b.links {
		at, _ := l.dir.Find(l.name)
		l.dir.Children[at].Inode = files[i]
	}
	return nil
}
