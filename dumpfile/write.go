package dumpfile

import (
	"fmt"
	"io"
	"strconv"

	"github.com/go-composefs/composefs/tree"
)

// WriteOptions change how a dump is written.
type WriteOptions struct {
	// XattrOrder has, for inodes whose attributes are not printed in the order of their
	// names, the attributes in the order they are. composefs-info prints that of the
	// image; see erofs.TreeOptions.
	XattrOrder map[*tree.Inode][]tree.Xattr
}

const writeBlock = 256 << 10

// Write writes the dump of a tree: root first, then depth first by name. The line of a hard
// link repeats the metadata of its file. Errors are those of w, and a tree in which a hard link
// has no own place.
func Write(w io.Writer, root *tree.Inode, opts WriteOptions) error {
	ownPlace := ownPlaces(root)
	buf := make([]byte, 0, writeBlock+32<<10)
	for path, e := range tree.Walk(root) {
		target := ownPlace[e.Inode]
		if e.Link && target == "" {
			return fmt.Errorf("write dump: %s: hard link to an inode without a place of its own", quote(path))
		}
		xattrs := e.Inode.Xattrs
		if order, ok := opts.XattrOrder[e.Inode]; ok {
			xattrs = order
		}
		buf = appendLine(buf, path, e, target, xattrs)
		if len(buf) >= writeBlock {
			if _, err := w.Write(buf); err != nil {
				return fmt.Errorf("write dump: %w", err)
			}
			buf = buf[:0]
		}
	}
	if _, err := w.Write(buf); err != nil {
		return fmt.Errorf("write dump: %w", err)
	}
	return nil
}

// ownPlaces returns the path of the own place of each hard-linked inode.
func ownPlaces(root *tree.Inode) map[*tree.Inode]string {
	linked := map[*tree.Inode]string{}
	dirs := []*tree.Inode{root}
	for len(dirs) > 0 {
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		for i := range dir.Children {
			switch e := &dir.Children[i]; {
			case e.Link:
				linked[e.Inode] = ""
			case e.Inode.IsDir():
				dirs = append(dirs, e.Inode)
			}
		}
	}
	if len(linked) == 0 {
		return nil
	}
	for path, e := range tree.Walk(root) {
		if _, ok := linked[e.Inode]; ok && !e.Link {
			linked[e.Inode] = string(path)
		}
	}
	return linked
}

// appendLine appends the line of one entry. target is the own place of a hard link.
func appendLine(b, path []byte, e *tree.Entry, target string, xattrs []tree.Xattr) []byte {
	n := e.Inode
	b = appendEscaped(b, path, 0)
	b = append(b, ' ')
	b = strconv.AppendUint(b, n.Size, 10)
	b = append(b, ' ')
	if e.Link {
		b = append(b, '@')
	}
	b = strconv.AppendUint(b, uint64(n.Mode), 8)
	for _, v := range [...]uint32{n.Nlink, n.UID, n.GID, n.Rdev} {
		b = append(b, ' ')
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	b = append(b, ' ')
	b = strconv.AppendInt(b, n.Mtime.Sec, 10)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(n.Mtime.Nsec), 10)
	b = append(b, ' ')
	b = appendPayload(b, e, target)
	b = append(b, ' ')
	if n.IsRegular() && len(n.Content) > 0 {
		b = appendField(b, n.Content)
	} else {
		b = append(b, '-')
	}
	b = append(b, ' ')
	if n.IsExternal() && !n.Digest.IsZero() {
		b = n.Digest.AppendHex(b)
	} else {
		b = append(b, '-')
	}
	for _, x := range xattrs {
		b = append(b, ' ')
		b = appendEscaped(b, x.Name, '=')
		b = append(b, '=')
		b = appendEscaped(b, x.Value, '=')
	}
	return append(b, '\n')
}

func appendPayload(b []byte, e *tree.Entry, target string) []byte {
	n := e.Inode
	switch {
	case e.Link:
		return appendField(b, target)
	case n.IsSymlink():
		return appendField(b, n.Target)
	case !n.IsExternal():
	case n.Backing != "":
		return appendField(b, n.Backing)
	case !n.NoBacking && !n.Digest.IsZero():
		return n.Digest.AppendObjectPath(b)
	}
	return append(b, '-')
}
