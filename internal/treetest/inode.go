package treetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// metadata gives n permissions, owner, time and attributes. The values repeat, because what
// several inodes share is stored in another way.
func (g *generator) metadata(n *tree.Inode) {
	n.Mode |= pick[uint32](g, 0o644, 0o755, 0o755, 0o600, 0o444, 0o4755, 0o2755, 0o1777, 0, 0o7777)
	if g.Real && n.IsSymlink() {
		n.Mode = tree.TypeSymlink | 0o777
	}
	n.UID = g.owner()
	n.GID = g.owner()
	n.Mtime = g.mtime()
	g.xattrs(n)
}

func (g *generator) owner() uint32 {
	id := pick[uint32](g, 0, 0, 0, 0, 1000, 65534, 65535, 65536, 1<<31, 1<<32-2, 1<<32-1)
	if g.Real && id == 1<<32-1 {
		return 1 // chown(2) takes this number for "leave it"
	}
	return id
}

func (g *generator) mtime() tree.Timespec {
	if g.Real {
		return pick(g, tree.Timespec{}, tree.Timespec{Sec: 1}, tree.Timespec{Sec: -1, Nsec: 999999999},
			tree.Timespec{Sec: -1 << 31}, tree.Timespec{Sec: 1<<33 + 1, Nsec: 1},
			tree.Timespec{Sec: 1700000000 + g.Int64N(1000), Nsec: g.Uint32N(1e9)})
	}
	return pick(g, tree.Timespec{}, tree.Timespec{}, tree.Timespec{}, tree.Timespec{Nsec: 1}, tree.Timespec{Sec: 1},
		tree.Timespec{Sec: -5, Nsec: 7}, tree.Timespec{Sec: -1 << 33}, tree.Timespec{Sec: 1 << 40, Nsec: 999999999},
		tree.Timespec{Sec: 1700000000 + g.Int64N(1000), Nsec: g.Uint32N(1e9)})
}

// xattrs gives n attributes within the limits of the format, and rarely nearly as much as
// the limits allow.
func (g *generator) xattrs(n *tree.Inode) {
	switch g.IntN(4) {
	case 0:
		return
	case 1, 2:
		n.SetXattr("security.selinux", pick(g, "system_u:object_r:etc_t:s0\x00", "system_u:object_r:usr_t:s0\x00", "label"))
	}
	for range max(0, g.IntN(8)-3) {
		name := g.xattrName(n)
		g.setXattr(n, name, g.xattrValue(name))
	}
	if g.Real {
		return
	}
	switch g.IntN(80) {
	case 0: // more than one inode can refer to in the shared table
		for i := range pick(g, 127, 128, 129, 140) {
			g.setXattr(n, fmt.Sprintf("user.many.%03d", i), "v")
		}
	case 1:
		name, fill := "user.fill", "v"
		if !g.Peer {
			fill = pick(g, "v", "\xfe") // escaped in a dump, it is too much for a line
		}
		if cost := max(n.XattrCost(), 12); cost < tree.MaxXattrCost/2 {
			g.setXattr(n, name, strings.Repeat(fill, tree.MaxXattrCost-cost-7-len(name)))
		}
	}
}

// setXattr sets an attribute if the limit of the format allows it.
func (g *generator) setXattr(n *tree.Inode, name, value string) {
	if max(n.XattrCost(), 12)+7+len(name)+len(value) <= tree.MaxXattrCost {
		n.SetXattr(name, value)
	}
}

func (g *generator) xattrName(n *tree.Inode) string {
	names := []string{"trusted.x", "trusted.z", "security.x", "trusted." + strings.Repeat("k", g.IntN(240)+1)}
	if n.IsRegular() || n.IsDir() || !g.Real {
		names = append(names, "user.a", "user.b", "user.é\xff", "user.=", "user."+strings.Repeat("k", 250))
	}
	if !g.Plain {
		names = append(names, "trusted.overlay.x", "trusted.overlay.opaque", "trusted.overlay.whiteout",
			"trusted.overlay.overlay.x", "trusted.overlay.origin", "trusted.overlayx")
	}
	if !g.Real {
		names = append(names, "user.", "security.", "trusted.", "foo", "foo=bar baz", "lustre.x", "system.x",
			"system.posix_acl_access", "system.posix_acl_default", "system.posix_acl_accessZ", "security.capability",
			strings.Repeat("q", 255))
	}
	if !g.Plain && !g.Real {
		names = append(names, "trusted.overlay.", "trusted.overlay.redirect", "trusted.overlay.metacopy",
			"trusted.overlay.whiteouts", "user.overlay.whiteout", "user.overlay.whiteouts", "user.overlay.opaque",
			"trusted.overlay.overlay.opaque")
	}
	name := pick(g, names...)
	if len(name) > tree.MaxXattrName-len("overlay.") && strings.HasPrefix(name, "trusted.overlay.") {
		return name[:tree.MaxXattrName-len("overlay.")] // an image needs room to escape it
	}
	return name
}

func (g *generator) xattrValue(name string) string {
	if g.Peer && strings.Contains(name, ".overlay.") {
		// The C library miscounts an attribute that it replaces by a shorter one.
		if strings.HasSuffix(name, "opaque") {
			return "y"
		}
		return ""
	}
	return pick(g, "", "x", "y", "same", "same", "a b=\n\\", "\x00\x01\xff", "-", strings.Repeat("v", g.IntN(300)), fmt.Sprint(g.Uint32()))
}

// content makes n a regular file of one kind: empty, inline or external.
func (g *generator) content(n *tree.Inode) {
	switch g.IntN(5) {
	case 0:
		return
	case 1, 2:
		size := pick(g, 1, 2, 3, 63, 64, g.IntN(64)+1)
		if !g.Real {
			size = pick(g, 1, 64, 65, 511, 512, 2047, 2048, 2049, 4095, 4096, 4097, 4999, tree.MaxInline, g.IntN(tree.MaxInline)+1)
		}
		n.Content = g.data(size)
		n.Size = uint64(size)
	default:
		g.external(n)
	}
}

func (g *generator) external(n *tree.Inode) {
	if g.Real || g.Objects != nil {
		data := g.data(pick(g, 65, 4095, 4096, 4097, 8192, 65+g.IntN(20000), 65+g.IntN(20000)))
		if !g.often() {
			data = append(data, g.data(128*4096+1-len(data))...) // a tree of hashes with two levels
		}
		n.Size = uint64(len(data))
		n.Digest = g.digest(data)
		if g.Objects != nil {
			g.Objects[n.Digest] = data
		}
		return
	}
	switch g.IntN(3) {
	case 0: // chunks are powers of two
		n.Size = uint64(1)<<g.IntN(54) + uint64(g.IntN(3)) - 1
	case 1: // numbers of chunks that decide where their table goes
		n.Size = pick[uint64](g, 1, 64, 65, 2, 255, 256, 1016, 1017, 1023, 1024) << 43
	default:
		n.Size = 1 + g.Uint64N(1<<24)
	}
	n.Size = min(max(n.Size, 1), tree.MaxExternalSize)
	if g.often() {
		// Few different digests: equal files share an object.
		n.Digest = g.digest(binary.LittleEndian.AppendUint32(nil, g.Uint32N(50)))
	}
	switch g.IntN(8) {
	case 0: // lengths 1 to 4 and the longest
		n.Backing = pick(g, "f", "ab", "abc", "/abs", "path/of a/file", "-", strings.Repeat("p", 1000), strings.Repeat("p", tree.MaxTarget))
	case 1:
		n.NoBacking = !n.Digest.IsZero()
	}
}

// data returns bytes that are all the same, or all kinds of bytes.
func (g *generator) data(size int) []byte {
	data := bytes.Repeat([]byte{pick[byte](g, 0, 'x', '-', '\n', 0xff)}, size)
	if g.IntN(2) == 0 {
		for i := 0; i < size; i += 8 {
			var word [8]byte
			binary.LittleEndian.PutUint64(word[:], g.Uint64())
			copy(data[i:], word[:])
		}
	}
	return data
}

func (g *generator) digest(data []byte) fsverity.Digest {
	g.hasher.Reset()
	_, _ = g.hasher.Write(data) // never fails
	return g.hasher.Digest()
}
