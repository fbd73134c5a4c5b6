package erofs

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/xxh32"
	"github.com/go-composefs/composefs/tree"
)

// attrTable holds every distinct attribute of an image once, with the number of inodes that
// have it: attributes with more than one user go to the image's shared table.
//
// The two attributes that lead overlayfs to an object are not kept as text: they are most of
// all attributes, and both follow from the object's digest.
type attrTable struct {
	format  Format
	attrs   []attr
	ids     map[tree.Xattr]uint32 // name and value to position in attrs
	objects []object
	byDig   map[fsverity.Digest]uint32 // digest to position in objects

	refs []attrRef // of all inodes, in image order, each in the order of its area
	size uint64    // bytes of the shared table
	// shared lists what the shared table holds, in its order.
	shared []attrRef
}

// attrRef names one attribute: an index into attrs or objects, and which of the two.
type attrRef uint32

const (
	refPlain    attrRef = 0 << 30 // attrs[index]
	refMetacopy attrRef = 1 << 30 // the metacopy attribute of objects[index]
	refRedirect attrRef = 2 << 30 // the redirect attribute of objects[index]
	refKind     attrRef = 3 << 30
)

func (r attrRef) index() uint32 { return uint32(r &^ refKind) }

// users counts the inodes that have an attribute, up to many; share replaces the count by the
// attribute's byte offset in the shared table, or notShared.
type users uint32

const (
	many      users = 2
	notShared       = ^users(0)
)

func (u *users) add() { *u = min(*u+1, many) }

type attr struct {
	tree.Xattr
	users  users
	index  uint8 // name index
	prefix uint8 // bytes of Name that the index stands for
}

// object is one digest of external files. Its attributes are counted apart, for a file may
// have one without the other.
type object struct {
	digest   fsverity.Digest
	metacopy users
	redirect users
}

func newAttrTable(format Format, externals int) attrTable {
	return attrTable{
		format:  format,
		ids:     map[tree.Xattr]uint32{},
		objects: make([]object, 0, externals),
		byDig:   make(map[fsverity.Digest]uint32, externals),
	}
}

// plain counts one use of an attribute given by name and value.
func (t *attrTable) plain(x tree.Xattr) attrRef {
	id, known := t.ids[x]
	if !known {
		id = uint32(len(t.attrs))
		a := attr{Xattr: x}
		a.index, a.prefix = xattrNameIndex(x.Name, t.format)
		t.attrs = append(t.attrs, a)
		t.ids[x] = id
	}
	t.attrs[id].users.add()
	return refPlain | attrRef(id)
}

func (t *attrTable) object(d fsverity.Digest) uint32 {
	id, known := t.byDig[d]
	if !known {
		id = uint32(len(t.objects))
		t.objects = append(t.objects, object{digest: d})
		t.byDig[d] = id
	}
	return id
}

// metacopy counts one use of the attribute that records a digest.
func (t *attrTable) metacopy(d fsverity.Digest) attrRef {
	id := t.object(d)
	t.objects[id].metacopy.add()
	return refMetacopy | attrRef(id)
}

// redirect counts one use of the attribute that leads to the object's own path.
func (t *attrTable) redirect(d fsverity.Digest) attrRef {
	id := t.object(d)
	t.objects[id].redirect.add()
	return refRedirect | attrRef(id)
}

// usersOf returns where the attribute's users or offset are kept.
func (t *attrTable) usersOf(r attrRef) *users {
	switch r & refKind {
	case refMetacopy:
		return &t.objects[r.index()].metacopy
	case refRedirect:
		return &t.objects[r.index()].redirect
	default:
		return &t.attrs[r.index()].users
	}
}

func (t *attrTable) name(r attrRef) string {
	switch r & refKind {
	case refMetacopy:
		return xattrMetacopy
	case refRedirect:
		return xattrRedirect
	default:
		return t.attrs[r.index()].Name
	}
}

func (t *attrTable) appendValue(b []byte, r attrRef) []byte {
	switch r & refKind {
	case refMetacopy:
		return appendMetacopy(b, t.objects[r.index()].digest)
	case refRedirect:
		return t.objects[r.index()].digest.AppendObjectPath(append(b, '/'))
	default:
		return append(b, t.attrs[r.index()].Value...)
	}
}

func (t *attrTable) valueLen(r attrRef) int {
	switch r & refKind {
	case refMetacopy:
		return metacopyHeader + t.objects[r.index()].digest.Hash().Size()
	case refRedirect:
		return 2 + 2*t.objects[r.index()].digest.Hash().Size()
	default:
		return len(t.attrs[r.index()].Value)
	}
}

// entrySize returns the bytes of the attribute's entry, padded.
func (t *attrTable) entrySize(r attrRef) uint64 {
	_, suffix := t.splitName(r)
	return alignUp(uint64(xattrEntrySize+len(suffix)+t.valueLen(r)), 4)
}

// metacopyHeader is the size of overlayfs's struct ovl_metacopy before the digest.
const metacopyHeader = 4

// appendMetacopy appends struct ovl_metacopy (fs/overlayfs/overlayfs.h): u8 version 0, u8
// length of the whole, u8 flags 0, u8 hash, digest.
func appendMetacopy(b []byte, d fsverity.Digest) []byte {
	b = append(b, 0, byte(metacopyHeader+d.Hash().Size()), 0, byte(d.Hash()))
	return d.Append(b)
}

// share decides which attributes are shared, orders them and gives them their offsets.
// V0 and V1 sort by name, value length and value, all descending; V2 ascending by name index,
// name and value (pinned by TestVectors/xattr-shared-order and TestPinnedIDs and TestGoldenBoundaries).
func (t *attrTable) share() {
	note := func(r attrRef, u *users) {
		if *u < many {
			*u = notShared
		} else {
			t.shared = append(t.shared, r)
		}
	}
	for i := range t.attrs {
		note(refPlain|attrRef(i), &t.attrs[i].users)
	}
	for i := range t.objects {
		note(refMetacopy|attrRef(i), &t.objects[i].metacopy)
		note(refRedirect|attrRef(i), &t.objects[i].redirect)
	}
	if t.format == FormatV2 {
		slices.SortFunc(t.shared, t.compareV2)
	} else {
		slices.SortFunc(t.shared, func(a, b attrRef) int { return t.compareV1(b, a) })
	}
	for _, r := range t.shared {
		*t.usersOf(r) = users(t.size)
		t.size += t.entrySize(r)
	}
	t.ids, t.byDig = nil, nil
}

func (t *attrTable) compareV1(a, b attrRef) int {
	if c := strings.Compare(t.name(a), t.name(b)); c != 0 {
		return c
	}
	if c := t.valueLen(a) - t.valueLen(b); c != 0 {
		return c
	}
	return t.compareValues(a, b)
}

func (t *attrTable) compareV2(a, b attrRef) int {
	aIndex, aSuffix := t.splitName(a)
	bIndex, bSuffix := t.splitName(b)
	if c := int(aIndex) - int(bIndex); c != 0 {
		return c
	}
	if c := strings.Compare(aSuffix, bSuffix); c != 0 {
		return c
	}
	return t.compareValues(a, b)
}

func (t *attrTable) compareValues(a, b attrRef) int {
	if a&refKind != refPlain && a&refKind == b&refKind {
		// Of the same length, both kinds of value sort as their digests do.
		da, db := t.objects[a.index()].digest, t.objects[b.index()].digest
		if da.Hash() == db.Hash() {
			return da.Compare(db)
		}
	}
	return strings.Compare(string(t.appendValue(nil, a)), string(t.appendValue(nil, b)))
}

// appendEntry appends the attribute's entry, padded to 4 bytes.
func (t *attrTable) appendEntry(b []byte, r attrRef) []byte {
	start := len(b)
	index, suffix := t.splitName(r)
	b = append(b, byte(len(suffix)), index)
	b = binary.LittleEndian.AppendUint16(b, uint16(t.valueLen(r)))
	b = append(b, suffix...)
	b = t.appendValue(b, r)
	for (len(b)-start)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// splitName returns the attribute's name index and what the name has after its prefix.
func (t *attrTable) splitName(r attrRef) (index uint8, suffix string) {
	if r&refKind != refPlain {
		return xattrIndexTrusted, t.name(r)[len(xattrPrefixes[xattrIndexTrusted]):]
	}
	a := &t.attrs[r.index()]
	return a.index, a.Name[a.prefix:]
}

// xattrNameIndex returns the name index of a full attribute name and the length of the prefix
// it stands for. The index of "lustre." is used by V2 alone.
func xattrNameIndex(name string, format Format) (index, prefix uint8) {
	for index := uint8(xattrIndexUser); index <= xattrIndexSecurity; index++ {
		if index == xattrIndexLustre && format != FormatV2 {
			continue
		}
		if p := xattrPrefixes[index]; strings.HasPrefix(name, p) {
			return index, uint8(len(p))
		}
	}
	return xattrIndexNone, 0
}

// filterBit returns the bit of an inode's name filter that an attribute clears.
func (t *attrTable) filterBit(r attrRef) uint32 {
	index, suffix := t.splitName(r)
	return 1 << (xxh32.Sum(suffix, filterSeed+uint32(index)) & 31)
}
