package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// inodeJSON is what ls and stat tell of an inode: docs/json.md promises the shape.
type inodeJSON struct {
	Path         string          `json:"path"`
	PathBase64   string          `json:"path_base64,omitempty"`
	Type         string          `json:"type"`
	Mode         string          `json:"mode"`
	UID          uint32          `json:"uid"`
	GID          uint32          `json:"gid"`
	Nlink        uint32          `json:"nlink"`
	Size         uint64          `json:"size"`
	Mtime        int64           `json:"mtime"`
	MtimeNsec    uint32          `json:"mtime_nsec"`
	Device       *deviceJSON     `json:"device,omitempty"`
	Target       string          `json:"target,omitempty"`
	TargetBase64 string          `json:"target_base64,omitempty"`
	Stored       string          `json:"stored,omitempty"`
	Digest       fsverity.Digest `json:"digest,omitzero"`
	Backing      string          `json:"backing,omitempty"`
	BackingB64   string          `json:"backing_base64,omitempty"`
	Xattrs       []xattrJSON     `json:"xattrs"`
	Nid          *uint64         `json:"nid,omitempty"`
}

type deviceJSON struct {
	Major uint32 `json:"major"`
	Minor uint32 `json:"minor"`
}

type xattrJSON struct {
	Name        string `json:"name"`
	NameBase64  string `json:"name_base64,omitempty"`
	Value       string `json:"value"`
	ValueBase64 string `json:"value_base64,omitempty"`
}

// Where the content of a regular file is.
const (
	storedInImage = "image" // in the image itself
	storedOutside = "store" // in an object of the store
)

func describeInode(path string, n *tree.Inode) inodeJSON {
	j := inodeJSON{
		Path: path, PathBase64: inBase64(path),
		Type: typeName(n), Mode: fmt.Sprintf("%04o", n.Perm()),
		UID: n.UID, GID: n.GID, Nlink: n.Nlink, Size: n.Size,
		Mtime: n.Mtime.Sec, MtimeNsec: n.Mtime.Nsec,
		Target: n.Target, TargetBase64: inBase64(n.Target),
		Stored: storedWhere(n), Digest: n.Digest,
		Xattrs: []xattrJSON{},
	}
	if j.Stored == storedOutside {
		j.Backing = n.BackingPath()
		j.BackingB64 = inBase64(j.Backing)
	}
	if n.IsDevice() {
		major, minor := deviceNumbers(n.Rdev)
		j.Device = &deviceJSON{major, minor}
	}
	for _, x := range n.Xattrs {
		j.Xattrs = append(j.Xattrs, xattrJSON{x.Name, inBase64(x.Name), x.Value, inBase64(x.Value)})
	}
	return j
}

// storedWhere tells where a regular file's content is; empty for what has none.
func storedWhere(n *tree.Inode) string {
	switch {
	case !n.IsRegular() || n.Size == 0:
		return ""
	case n.Digest.IsZero() && n.BackingPath() == "":
		return storedInImage
	}
	return storedOutside
}

// typeName is the word for a file's type in JSON and in stat.
func typeName(n *tree.Inode) string {
	switch n.Type() {
	case tree.TypeRegular:
		return "file"
	case tree.TypeDir:
		return "directory"
	case tree.TypeSymlink:
		return "symlink"
	case tree.TypeChar:
		return "char device"
	case tree.TypeBlock:
		return "block device"
	case tree.TypeFIFO:
		return "fifo"
	case tree.TypeSocket:
		return "socket"
	}
	return "unknown"
}

// deviceNumbers splits Linux's 32-bit encoding of a device number (new_decode_dev in
// include/linux/kdev_t.h).
func deviceNumbers(rdev uint32) (major, minor uint32) {
	return rdev >> 8 & 0xfff, rdev&0xff | rdev>>12&0xfff00
}

// modeText is the mode as ls -l shows it.
func modeText(n *tree.Inode) string {
	types := map[uint32]byte{
		tree.TypeRegular: '-', tree.TypeDir: 'd', tree.TypeSymlink: 'l', tree.TypeChar: 'c',
		tree.TypeBlock: 'b', tree.TypeFIFO: 'p', tree.TypeSocket: 's',
	}
	b := []byte("?rwxrwxrwx")
	if c, ok := types[n.Type()]; ok {
		b[0] = c
	}
	for i := range 9 {
		if n.Mode>>(8-i)&1 == 0 {
			b[1+i] = '-'
		}
	}
	special := func(bit uint32, at int, with, without byte) {
		switch {
		case n.Mode&bit == 0:
		case b[at] == 'x':
			b[at] = with
		default:
			b[at] = without
		}
	}
	special(0o4000, 3, 's', 'S')
	special(0o2000, 6, 's', 'S')
	special(0o1000, 9, 't', 'T')
	if len(n.Xattrs) > 0 {
		b = append(b, '+')
	}
	return string(b)
}

// timeText is a time in UTC, because images of one tree are equal everywhere; or the bare
// seconds where the calendar ends.
func timeText(t tree.Timespec, nanoseconds bool) string {
	const yearZero, yearTenThousand = -62167219200, 253402300800
	if t.Sec < yearZero || t.Sec >= yearTenThousand {
		return fmt.Sprintf("@%d.%09d", t.Sec, t.Nsec)
	}
	layout := time.DateTime
	if nanoseconds {
		layout += ".000000000"
	}
	return time.Unix(t.Sec, int64(t.Nsec)).UTC().Format(layout)
}

// sizeText is what ls -l shows for the size: a device has its numbers there.
func sizeText(n *tree.Inode) string {
	if n.IsDevice() {
		major, minor := deviceNumbers(n.Rdev)
		return fmt.Sprintf("%d,%d", major, minor)
	}
	return fmt.Sprint(n.Size)
}

// nameText is a name with what it points to, coloured as ls does.
func nameText(name string, n *tree.Inode, paint func(color, string) string) string {
	text := printable(name)
	switch {
	case n.IsDir():
		text = paint(blue, text)
	case n.IsSymlink():
		text = paint(cyan, text)
	case n.IsDevice():
		text = paint(yellow, text)
	case n.IsRegular() && n.Mode&0o111 != 0:
		text = paint(green, text)
	}
	return text
}

// joinPath adds a name to the absolute path of a directory.
func joinPath(dir, name string) string {
	if strings.HasSuffix(dir, "/") {
		return dir + name
	}
	return dir + "/" + name
}
