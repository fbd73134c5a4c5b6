package tree

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
)

// File types: the bits of st_mode that [TypeMask] selects, as in Linux <sys/stat.h>, on every
// platform.
const (
	TypeMask    = 0o170000
	TypeSocket  = 0o140000
	TypeSymlink = 0o120000
	TypeRegular = 0o100000
	TypeBlock   = 0o060000
	TypeDir     = 0o040000
	TypeChar    = 0o020000
	TypeFIFO    = 0o010000
)

// Limits that every format shares.
const (
	MaxName          = 255     // bytes of one path component
	MaxTarget        = 4095    // bytes of a symlink target or backing path
	MaxInline        = 5000    // bytes of inline content that an image can hold
	MaxXattrName     = 255     // bytes of a full attribute name
	MaxXattrCost     = 32767   // see Inode.XattrCost
	MaxExternalSize  = 1 << 53 // bytes of an external file that an image can describe
	DefaultInlineMax = 64      // regular files up to this many bytes are stored inline
)

// Errors that callers branch on.
var (
	ErrExist    = errors.New("name exists already")
	ErrNotFound = errors.New("no such file in the tree")
	ErrNotDir   = errors.New("not a directory")
	ErrName     = errors.New("bad file name")
)

// Timespec is a point in time as inodes keep it: seconds since 1970, and nanoseconds to add.
type Timespec struct {
	Sec  int64
	Nsec uint32
}

// Compare orders by seconds, then nanoseconds: -1, 0 or +1.
func (t Timespec) Compare(u Timespec) int {
	if c := cmp.Compare(t.Sec, u.Sec); c != 0 {
		return c
	}
	return cmp.Compare(t.Nsec, u.Nsec)
}

// Entry is one name in a directory.
type Entry struct {
	Name  string
	Inode *Inode
	Link  bool // a further hard link: the inode's own place is another entry
}

// Inode is one file. Which fields mean something depends on the type in Mode.
type Inode struct {
	Size  uint64 // bytes; for a directory and a symlink it is derived and ignored
	Mtime Timespec
	Mode  uint32 // type and permission bits, as st_mode
	UID   uint32
	GID   uint32
	Nlink uint32 // as recorded; the image writer derives it for directories
	Rdev  uint32 // devices: Linux's 32-bit encoding, the low half of st_rdev

	// NoBacking marks an external file that has a digest and yet no place in the store.
	// Only dumps made by hand say that; the file cannot be read through a mount.
	NoBacking bool

	Xattrs   []Xattr // sorted by name, names unique
	Children []Entry // directories: sorted by name, names unique

	Target  string // symlinks: what they point to
	Content []byte // regular files: the whole content, if inline

	// Digest names the object that holds an external file. Backing is its path in the
	// store; empty means the digest's own path (and nothing, if there is no digest).
	Digest  fsverity.Digest
	Backing string
}

// Type returns the file type bits of Mode.
func (n *Inode) Type() uint32 { return n.Mode & TypeMask }

// Perm returns the permission bits of Mode with set-id and sticky bits.
func (n *Inode) Perm() uint32 { return n.Mode & 0o7777 }

// IsDir says whether n is a directory.
func (n *Inode) IsDir() bool { return n.Type() == TypeDir }

// IsRegular says whether n is a regular file.
func (n *Inode) IsRegular() bool { return n.Type() == TypeRegular }

// IsSymlink says whether n is a symbolic link.
func (n *Inode) IsSymlink() bool { return n.Type() == TypeSymlink }

// IsDevice says whether n is a block or character device.
func (n *Inode) IsDevice() bool { return n.Type() == TypeChar || n.Type() == TypeBlock }

// IsWhiteout says whether n is overlayfs's mark for a deleted file: a character device 0:0.
func (n *Inode) IsWhiteout() bool { return n.Type() == TypeChar && n.Rdev == 0 }

// IsExternal says whether n is a regular file whose bytes are not in the image.
func (n *Inode) IsExternal() bool {
	return n.IsRegular() && n.Size > 0 && len(n.Content) == 0
}

// BackingPath returns the path, relative to the store, of an external file's object; empty if
// it has none.
func (n *Inode) BackingPath() string {
	if n.Backing != "" || n.NoBacking {
		return n.Backing
	}
	return n.Digest.ObjectPath()
}

// CheckName returns nil for a name that a directory entry may have: 1 to 255 bytes, no slash,
// no NUL, and neither "." nor "..".
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: empty", ErrName)
	case len(name) > MaxName:
		return fmt.Errorf("%w: %d bytes, at most %d are possible", ErrName, len(name), MaxName)
	case name == "." || name == "..":
		return fmt.Errorf("%w: %q", ErrName, name)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("%w: %q", ErrName, name)
	}
	return nil
}

// Find returns the position of name among the children of n, and whether it is there.
func (n *Inode) Find(name string) (int, bool) {
	// A tree is nearly always built in name order: look at the end first.
	if last := len(n.Children) - 1; last < 0 || n.Children[last].Name < name {
		return last + 1, false
	}
	return slices.BinarySearchFunc(n.Children, name, func(e Entry, name string) int {
		return strings.Compare(e.Name, name)
	})
}

// Lookup returns the child of that name, or nil.
func (n *Inode) Lookup(name string) *Inode {
	if i, ok := n.Find(name); ok {
		return n.Children[i].Inode
	}
	return nil
}

// Add puts an entry into directory n, in order. It fails with [ErrNotDir], [ErrName] or
// [ErrExist].
func (n *Inode) Add(e Entry) error {
	if !n.IsDir() {
		return ErrNotDir
	}
	if err := CheckName(e.Name); err != nil {
		return err
	}
	i, found := n.Find(e.Name)
	if found {
		return fmt.Errorf("%w: %q", ErrExist, e.Name)
	}
	n.Children = slices.Insert(n.Children, i, e)
	return nil
}

// Remove takes the entry of that name out of directory n and says whether it was there. If
// it was the inode's own place, call [SettleLinks] on the root when all changes are made.
func (n *Inode) Remove(name string) bool {
	i, found := n.Find(name)
	if found {
		n.Children = slices.Delete(n.Children, i, i+1)
	}
	return found
}

// Resolve returns the inode at a slash-separated path below root; leading, trailing and
// repeated slashes do not matter, symlinks are not followed.
func Resolve(root *Inode, path string) (*Inode, error) {
	n := root
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		if !n.IsDir() {
			return nil, fmt.Errorf("%s: %w", path, ErrNotDir)
		}
		if n = n.Lookup(name); n == nil {
			return nil, fmt.Errorf("%s: %w", path, ErrNotFound)
		}
	}
	return n, nil
}
