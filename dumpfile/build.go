package dumpfile

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/go-composefs/composefs/tree"
)

// builder makes a tree from the lines of a dump.
type builder struct {
	opts  ReadOptions
	arena arena
	line  int // number of the line being read

	root *tree.Inode
	// dirPath is the path of the directory that the last line was placed in, and dirs are
	// the directories on the way there: neighbouring lines share most of the way.
	dirPath []byte
	dirs    []openDir
	// unsorted has an index of each directory whose names do not come in order.
	unsorted map[*tree.Inode]map[string]*tree.Inode
	links    []hardLink
	isLink   map[*tree.Inode]int // stand-ins of hard links, to positions in links

	path, payload, content, digestPath []byte // scratch
	xattrs                             []tree.Xattr
}

type openDir struct {
	end int // length of its path in dirPath
	dir *tree.Inode
}

// hardLink is a link whose target is looked for when all lines are read: it may come later.
type hardLink struct {
	line   int
	dir    *tree.Inode
	name   string
	target string
}

func newBuilder(opts ReadOptions) *builder {
	return &builder{
		opts:     opts,
		arena:    arena{interned: map[string]string{}},
		unsorted: map[*tree.Inode]map[string]*tree.Inode{},
		isLink:   map[*tree.Inode]int{},
	}
}

// place puts the inode of a line into the tree.
func (b *builder) place(path []byte, n *tree.Inode, isLink bool) error {
	if len(path) == 1 && path[0] == '/' {
		switch {
		case !n.IsDir():
			return fieldError(fieldPath, "Root must be a directory")
		case b.root != nil:
			return fieldError(fieldPath, "Can't have multiple roots")
		case isLink:
			return fieldError(fieldMode, "Directories can't be hardlinked")
		}
		b.root = n
		b.dirs = append(b.dirs, openDir{0, n})
		return nil
	}
	if b.root == nil {
		return fieldError(fieldPath, "Root node not present")
	}
	path = canonical(path)
	slash := bytes.LastIndexByte(path, '/')
	dir, err := b.open(path[:slash])
	if err != nil {
		return err
	}
	return b.addChild(dir, path, path[slash+1:], n, isLink)
}

// canonical returns a path with one leading slash and without repeated ones. A slash at the
// end stays: the name after it is empty.
func canonical(path []byte) []byte {
	if path[0] == '/' && !bytes.Contains(path, []byte("//")) {
		return path
	}
	clean := make([]byte, 0, len(path)+1)
	clean = append(clean, '/')
	for _, c := range path {
		if c != '/' || clean[len(clean)-1] != '/' {
			clean = append(clean, c)
		}
	}
	return clean
}

// open returns the directory of a canonical path without a slash at its end; empty is the root.
func (b *builder) open(path []byte) (*tree.Inode, error) {
	if !bytes.Equal(path, b.dirPath) {
		// Go back to the deepest directory that both paths have.
		for {
			top := b.dirs[len(b.dirs)-1]
			if bytes.HasPrefix(path, b.dirPath[:top.end]) && (len(path) == top.end || path[top.end] == '/') {
				break
			}
			b.dirs = b.dirs[:len(b.dirs)-1]
		}
		end := b.dirs[len(b.dirs)-1].end
		b.dirPath = append(b.dirPath[:end], path[end:]...)
		for end < len(path) {
			name := path[end+1:]
			if i := bytes.IndexByte(name, '/'); i >= 0 {
				name = name[:i]
			}
			dir := b.lookup(b.dirs[len(b.dirs)-1].dir, name)
			end += 1 + len(name)
			_, isLink := b.isLink[dir]
			if dir == nil || isLink || !dir.IsDir() {
				b.dirPath = b.dirPath[:b.dirs[len(b.dirs)-1].end]
				if dir == nil {
					return nil, fieldError(fieldPath, "Parent directory missing for %s", path)
				}
				return nil, fieldError(fieldPath, "Parent must be a directory for %s", path)
			}
			b.dirs = append(b.dirs, openDir{end, dir})
		}
	}
	return b.dirs[len(b.dirs)-1].dir, nil
}

func (b *builder) lookup(dir *tree.Inode, name []byte) *tree.Inode {
	if index, ok := b.unsorted[dir]; ok {
		return index[string(name)]
	}
	return dir.Lookup(string(name))
}

// addChild appends an entry to a directory. Order is restored at the end, for inserting would
// cost the square of the directory's size.
func (b *builder) addChild(dir *tree.Inode, path, name []byte, n *tree.Inode, isLink bool) error {
	switch {
	case string(name) == "." || string(name) == "..":
		return fieldError(fieldPath, "Invalid . or .. in path: %s", path)
	case len(name) == 0:
		return fieldError(fieldPath, "Can't add child: empty name")
	case len(name) > tree.MaxName:
		return fieldError(fieldPath, "Can't add child: name of %d bytes, at most %d are possible", len(name), tree.MaxName)
	}
	e := tree.Entry{Name: b.arena.string(name), Inode: n, Link: isLink}
	index := b.unsorted[dir]
	if last := len(dir.Children) - 1; index == nil && last >= 0 && e.Name <= dir.Children[last].Name {
		index = make(map[string]*tree.Inode, 2*len(dir.Children))
		for _, c := range dir.Children {
			index[c.Name] = c.Inode
		}
		b.unsorted[dir] = index
	}
	if index != nil {
		if _, exists := index[e.Name]; exists {
			return fieldError(fieldPath, "Can't add child: %s exists already", path)
		}
		index[e.Name] = n
	}
	dir.Children = append(dir.Children, e)
	return nil
}

// noteLink keeps a hard link for later.
func (b *builder) noteLink(n *tree.Inode, fields [][]byte) error {
	if n.IsDir() {
		return fieldError(fieldMode, "Directories can't be hardlinked")
	}
	if isNone(fields[fieldPayload]) {
		return fieldError(fieldPayload, "No target path for the hardlink")
	}
	target, err := b.text(&b.payload, fields, fieldPayload)
	if err != nil {
		return err
	}
	dir := b.dirs[len(b.dirs)-1].dir
	b.isLink[n] = len(b.links)
	b.links = append(b.links, hardLink{
		line:   b.line,
		dir:    dir,
		name:   dir.Children[len(dir.Children)-1].Name,
		target: b.arena.string(target),
	})
	return nil
}

// finish orders all directories and resolves the hard links.
func (b *builder) finish() (*tree.Inode, error) {
	if b.root == nil {
		return nil, &SyntaxError{Reason: reasonEmpty}
	}
	for dir := range b.unsorted {
		slices.SortFunc(dir.Children, func(x, y tree.Entry) int { return strings.Compare(x.Name, y.Name) })
	}
	files := make([]*tree.Inode, len(b.links))
	for i := range b.links {
		if err := b.resolve(i, files); err != nil {
			return nil, err
		}
	}
	for i, l := range b.links {
		at, _ := l.dir.Find(l.name)
		l.dir.Children[at].Inode = files[i]
	}
	return b.root, nil
}

// resolve follows a hard link, which may lead to others, to its file, and enters the file for
// each link on the way.
func (b *builder) resolve(at int, files []*tree.Inode) error {
	way := []int{}
	onWay := map[int]bool{}
	for files[at] == nil {
		l := &b.links[at]
		fail := func(format string, args ...any) error {
			return &SyntaxError{Line: l.line, Field: fieldNames[fieldPayload], Reason: fmt.Sprintf(format, args...)}
		}
		n, err := tree.Resolve(b.root, l.target)
		if err != nil {
			return fail("No target at %s for hardlink", l.target)
		}
		way = append(way, at)
		onWay[at] = true
		next, isLink := b.isLink[n]
		switch {
		case isLink && next == at:
			return fail("Self-referential hardlink %s", l.target)
		case isLink && onWay[next]:
			return fail("hard links in a circle: %s", l.target)
		case isLink:
			at = next
		case n.IsDir():
			return fail("Directories can't be hardlinked: %s", l.target)
		default:
			files[at] = n
		}
	}
	for _, i := range way {
		files[i] = files[at]
	}
	return nil
}
