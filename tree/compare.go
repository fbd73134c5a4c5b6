package tree

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-composefs/composefs/fsverity"
)

// ChangeKind says what happened to a path.
type ChangeKind string

// Kinds of changes.
const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed"
)

// Field is a property in which two files can differ.
type Field string

// Fields, in the order in which a [Change] lists them.
const (
	FieldType    Field = "type"
	FieldMode    Field = "mode" // permissions, set-id and sticky bits
	FieldOwner   Field = "owner"
	FieldMtime   Field = "mtime"
	FieldSize    Field = "size"
	FieldContent Field = "content"
	FieldStored  Field = "stored" // the same content in another place: inline or not, or another path
	FieldTarget  Field = "target" // of a symlink
	FieldXattrs  Field = "xattrs"
	FieldRdev    Field = "rdev"
	FieldNlink   Field = "nlink"
	FieldLinks   Field = "links" // a hard link of other paths than before
)

// Change is one difference between two trees.
//
// Its JSON form is an object with "path", "kind" and, for what is changed, "fields", an array
// in the order of the constants; "path_base64" is there if the path is not UTF-8; "old_size" and
// "new_size" are those of regular files, in bytes, where the trees have one.
type Change struct {
	Path     string
	Kind     ChangeKind
	Fields   []Field // if Kind is Changed: at least one
	Old, New *Inode  // nil if there is none
}

// MarshalJSON implements [json.Marshaler].
func (c Change) MarshalJSON() ([]byte, error) {
	form := struct {
		Path       string     `json:"path"`
		PathBase64 []byte     `json:"path_base64,omitempty"`
		Kind       ChangeKind `json:"kind"`
		Fields     []Field    `json:"fields,omitempty"`
		OldSize    *uint64    `json:"old_size,omitempty"`
		NewSize    *uint64    `json:"new_size,omitempty"`
	}{Path: c.Path, Kind: c.Kind, Fields: c.Fields}
	if c.Old != nil && c.Old.IsRegular() {
		form.OldSize = &c.Old.Size
	}
	if c.New != nil && c.New.IsRegular() {
		form.NewSize = &c.New.Size
	}
	if !utf8.ValidString(c.Path) {
		form.PathBase64 = []byte(c.Path)
	}
	return json.Marshal(form)
}

// String returns the change as one line: "changed /etc/passwd: size content".
func (c Change) String() string {
	s := fmt.Sprintf("%s %q", c.Kind, c.Path)
	for i, f := range c.Fields {
		s += []string{": ", " "}[min(i, 1)] + string(f)
	}
	return s
}

// Compare lists what one must do to tree a to get tree b, in the order of [Walk]. Of a
// directory that is in one tree only, all that it holds is listed too. Equal trees give
// nothing: what is derived (sizes and link counts of directories) does not count, and neither
// does which of its names is an inode's own place.
func Compare(a, b *Inode) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		c := comparison{old: findLinked(a), new: findLinked(b)}
		c.walk(a, b, yield)
	}
}

// findLinked returns the inodes of several names, each without a counterpart yet.
func findLinked(root *Inode) map[*Inode]*Inode {
	linked := map[*Inode]*Inode{}
	for _, e := range Walk(root) {
		if e.Link {
			linked[e.Inode] = nil
		}
	}
	return linked
}

// comparison holds the inodes of several names with what they were met as in the other tree:
// two groups of names are the same if each path common to the trees pairs the same inodes.
type comparison struct {
	old, new map[*Inode]*Inode
}

// pair is a directory in both trees, or in one of them.
type pair struct {
	a, b       *Inode // nil: not there
	nextA      int
	nextB      int
	pathLength int
}

// children returns those of a directory; of none, none.
func children(n *Inode) []Entry {
	if n == nil {
		return nil
	}
	return n.Children
}

// next takes the first name that is left in either directory.
func (p *pair) next() (name string, a, b *Inode) {
	restA, restB := children(p.a)[p.nextA:], children(p.b)[p.nextB:]
	if len(restA) == 0 && len(restB) == 0 {
		return "", nil, nil
	}
	var order int
	switch {
	case len(restB) == 0:
		order = -1
	case len(restA) == 0:
		order = 1
	default:
		order = strings.Compare(restA[0].Name, restB[0].Name)
	}
	if order <= 0 {
		name, a = restA[0].Name, restA[0].Inode
		p.nextA++
	}
	if order >= 0 {
		name, b = restB[0].Name, restB[0].Inode
		p.nextB++
	}
	return name, a, b
}

func (c *comparison) walk(a, b *Inode, yield func(Change) bool) {
	if !c.visit([]byte("/"), a, b, yield) {
		return
	}
	path := make([]byte, 0, 256)
	stack := []pair{dirs(a, b)}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		name, a, b := top.next()
		if a == nil && b == nil {
			stack = stack[:len(stack)-1]
			continue
		}
		path = append(append(path[:top.pathLength], '/'), name...)
		if !c.visit(path, a, b, yield) {
			return
		}
		if below := dirs(a, b); below.a != nil || below.b != nil {
			below.pathLength = len(path)
			stack = append(stack, below)
		}
	}
}

// dirs returns those of two inodes that are directories.
func dirs(a, b *Inode) pair {
	var p pair
	if a != nil && a.IsDir() {
		p.a = a
	}
	if b != nil && b.IsDir() {
		p.b = b
	}
	return p
}

func (c *comparison) visit(path []byte, a, b *Inode, yield func(Change) bool) bool {
	switch {
	case a == nil:
		return yield(Change{Path: string(path), Kind: Added, New: b})
	case b == nil:
		return yield(Change{Path: string(path), Kind: Removed, Old: a})
	}
	fields := compareInodes(a, b)
	if c.linksDiffer(a, b) {
		fields = append(fields, FieldLinks)
	}
	if len(fields) == 0 {
		return true
	}
	return yield(Change{Path: string(path), Kind: Changed, Fields: fields, Old: a, New: b})
}

func (c *comparison) linksDiffer(a, b *Inode) bool {
	asB, linkedA := c.old[a]
	asA, linkedB := c.new[b]
	if !linkedA && !linkedB {
		return false
	}
	if asA == nil && asB == nil {
		c.old[a], c.new[b] = b, a
		return false
	}
	return asB != b
}

// compareInodes returns the fields in which two files of the same path differ.
func compareInodes(a, b *Inode) []Field {
	var fields []Field
	differ := func(f Field, yes bool) {
		if yes {
			fields = append(fields, f)
		}
	}
	same := a.Type() == b.Type()
	regular := same && a.IsRegular()
	differ(FieldType, !same)
	differ(FieldMode, a.Perm() != b.Perm())
	differ(FieldOwner, a.UID != b.UID || a.GID != b.GID)
	differ(FieldMtime, a.Mtime != b.Mtime)
	differ(FieldSize, regular && a.Size != b.Size)
	content := regular && !sameContent(a, b)
	differ(FieldContent, content)
	differ(FieldStored, regular && !content && !sameStorage(a, b))
	differ(FieldTarget, same && a.IsSymlink() && a.Target != b.Target)
	differ(FieldXattrs, !slices.Equal(a.Xattrs, b.Xattrs))
	differ(FieldRdev, same && a.IsDevice() && a.Rdev != b.Rdev)
	differ(FieldNlink, same && !a.IsDir() && a.Nlink != b.Nlink)
	return fields
}

// sameContent says whether two regular files have the same bytes, as far as the trees tell. If
// only one of them holds the bytes, their digest is compared.
func sameContent(a, b *Inode) bool {
	if a.Size != b.Size {
		return false
	}
	if a.IsExternal() == b.IsExternal() {
		return bytes.Equal(a.Content, b.Content) && a.Digest == b.Digest &&
			(!a.Digest.IsZero() || a.Backing == b.Backing)
	}
	if a.IsExternal() {
		a, b = b, a
	}
	sum, err := fsverity.Sum(fsverity.Algorithm{Hash: b.Digest.Hash(), BlockBits: fsverity.SHA256.BlockBits}, a.Content)
	return err == nil && sum == b.Digest // an error: b has no digest
}

// sameStorage says whether two files of the same content are found in the same place.
func sameStorage(a, b *Inode) bool {
	return a.IsExternal() == b.IsExternal() && (!a.IsExternal() || a.BackingPath() == b.BackingPath())
}
