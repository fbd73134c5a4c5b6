package erofs

import (
	"bytes"
	"fmt"
	"iter"
	"strings"

	"github.com/go-composefs/composefs/tree"
)

// The attributes of an inode follow it:
//
//	┌ inode ┬ u32 filter, u8 count, 7 × 0 ┬ count × u32 shared id ┬ entry ┬ entry ┬ … ┐
//	entry:  u8 name length, u8 name index, u16 value length, name, value, up to 3 × 0
//
// A shared id counts 4-byte units from the block xattr_blkaddr to an entry. A name index stands
// for a prefix; with bit 7 it selects a long prefix that the superblock leads to.

// rawXattr is an attribute entry in place.
type rawXattr struct {
	index byte
	name  []byte // without the prefix
	value []byte
}

// rawXattrs are the attributes of an inode in place.
type rawXattrs struct {
	filter uint32
	shared []byte // count × u32
	inline []byte
}

// rawXattrs splits the attribute area.
func (in *Inode) rawXattrs() (rawXattrs, error) {
	if in.xattrSize == 0 {
		return rawXattrs{}, nil
	}
	pos := in.pos + uint64(in.bodySize)
	b, err := in.img.meta(in.inBox, pos, int(in.xattrSize))
	if err != nil {
		return rawXattrs{}, about(err, in.Nid, "")
	}
	refs := xattrHeaderSize + 4*int(b[4])
	if refs > len(b) {
		return rawXattrs{}, corruptf(in.Nid, pos, "%d shared attributes do not fit in an attribute area of %d bytes", b[4], len(b))
	}
	return rawXattrs{le.Uint32(b), b[xattrHeaderSize:refs], b[refs:]}, nil
}

// next cuts the next entry off the inline attributes. A zero entry is padding, which mkfs.erofs
// leaves on request: skip says so.
func (x *rawXattrs) next() (entry rawXattr, skip bool, reason string) {
	b := x.inline
	if len(b) < xattrEntrySize {
		return entry, false, "the last attribute is cut off"
	}
	name, value := int(b[0]), int(le.Uint16(b[2:]))
	size := alignUp(xattrEntrySize+name+value, 4)
	if size > len(b) {
		return entry, false, fmt.Sprintf("an attribute of %d bytes does not fit in the %d that are left", size, len(b))
	}
	x.inline = b[size:]
	entry = newRawXattr(b)
	return entry, entry.index == 0 && size == xattrEntrySize, ""
}

// newRawXattr takes an entry apart; b is at least as long.
func newRawXattr(b []byte) rawXattr {
	name, value := xattrEntrySize+int(b[0]), int(le.Uint16(b[2:]))
	return rawXattr{b[1], b[xattrEntrySize:name:name], b[name : name+value : name+value]}
}

// sharedXattr returns the entry of a shared id, and where it lies.
func (img *Image) sharedXattr(id uint32) (rawXattr, error) {
	inBox := img.sb.Compat&featureCompatSharedEAInMetabox != 0 && img.sb.Incompat&featureIncompatMetabox != 0
	pos := uint64(img.sb.XattrBlock)<<img.sb.BlockBits + uint64(id)*4
	b, err := img.meta(inBox, pos, xattrEntrySize)
	if err != nil {
		return rawXattr{}, err
	}
	b, err = img.meta(inBox, pos, xattrEntrySize+int(b[0])+int(le.Uint16(b[2:])))
	if err != nil {
		return rawXattr{}, err
	}
	return newRawXattr(b), nil
}

// xattrPrefix returns what a name index stands for.
func (img *Image) xattrPrefix(index byte) (string, error) {
	switch {
	case index&xattrLongPrefix != 0:
		if img.prefixErr != nil {
			return "", img.prefixErr
		}
		if i := int(index &^ xattrLongPrefix); i < len(img.prefixes) {
			return img.prefixes[i], nil
		}
		return "", corruptf(NoNid, noOffset, "an attribute has long prefix %d of %d", index&^xattrLongPrefix, len(img.prefixes))
	case int(index) < len(xattrPrefixes):
		return xattrPrefixes[index], nil
	}
	return "", corruptf(NoNid, noOffset, "an attribute has name index %d", index)
}

// xattrName returns the full name of an attribute.
func (img *Image) xattrName(x rawXattr) (string, error) {
	prefix, err := img.xattrPrefix(x.index)
	if err != nil {
		return "", err
	}
	name := prefix + string(x.name)
	longest := tree.MaxXattrName
	if strings.HasPrefix(name, xattrOverlayEscaped) {
		longest += len(xattrOverlayEscaped) - len(xattrOverlay)
	}
	if name == "" || len(name) > longest {
		return "", corruptf(NoNid, noOffset, "the name of an attribute has %d bytes, want 1 to %d", len(name), longest)
	}
	if bytes.IndexByte(x.name, 0) >= 0 {
		return "", corruptf(NoNid, noOffset, "the name of an attribute has a NUL")
	}
	return name, nil
}

// readPrefixes reads the long prefixes: u16 length, u8 index of the short prefix it goes on
// from, the rest of the prefix; each at a multiple of 4.
func (img *Image) readPrefixes() ([]string, error) {
	if img.sb.prefixCount == 0 {
		return nil, nil
	}
	at, err := img.prefixSource()
	if err != nil {
		return nil, err
	}
	var prefixes []string
	pos := img.sb.prefixStart
	for range img.sb.prefixCount {
		pos = alignUp(pos, 4)
		b, err := at(pos, 3)
		if err != nil {
			return nil, err
		}
		size, base := int(le.Uint16(b)), int(b[2])
		if size == 0 || size > tree.MaxXattrName || base >= len(xattrPrefixes) {
			return nil, corruptf(NoNid, pos, "a long attribute prefix has %d bytes after name index %d", size-1, base)
		}
		if b, err = at(pos+3, size-1); err != nil {
			return nil, err
		}
		if bytes.IndexByte(b, 0) >= 0 {
			return nil, corruptf(NoNid, pos, "a long attribute prefix has a NUL")
		}
		prefixes = append(prefixes, xattrPrefixes[base]+string(b))
		pos += 2 + uint64(size)
	}
	return prefixes, nil
}

// prefixSource returns what reads the long prefixes: they are in the metabox, in the packed
// inode, or in neither.
func (img *Image) prefixSource() (func(pos uint64, n int) ([]byte, error), error) {
	sb := &img.sb
	plain := sb.Compat&featureCompatPlainXattrPrefix != 0
	switch {
	case !plain && sb.Incompat&featureIncompatMetabox != 0:
		return func(pos uint64, n int) ([]byte, error) { return img.meta(true, pos, n) }, nil
	case !plain && sb.Incompat&featureIncompatFragments != 0 && sb.PackedNid != 0:
		packed, err := img.Inode(sb.PackedNid)
		if err != nil {
			return nil, err
		}
		if packed.compressed() {
			return nil, unsupportedf(NoNid, "attribute prefixes in a compressed packed inode (EROFS_FEATURE_INCOMPAT_FRAGMENTS, %s)", packed.Layout)
		}
		return packed.bytes, nil
	}
	return img.win.bytes, nil
}

// Xattrs goes through the attributes of the inode in their order on disk: inline ones first,
// then shared ones. After an error there is nothing more. Names are complete and not checked
// to be unique.
func (in *Inode) Xattrs() iter.Seq2[tree.Xattr, error] {
	return func(yield func(tree.Xattr, error) bool) {
		raw, err := in.rawXattrs()
		if err != nil {
			yield(tree.Xattr{}, err)
			return
		}
		for len(raw.inline) > 0 {
			x, skip, reason := raw.next()
			if reason != "" {
				yield(tree.Xattr{}, corruptf(in.Nid, in.pos, "%s", reason))
				return
			}
			if !skip && !in.yieldXattr(x, yield) {
				return
			}
		}
		for ids := raw.shared; len(ids) > 0; ids = ids[4:] {
			x, err := in.img.sharedXattr(le.Uint32(ids))
			if err != nil {
				yield(tree.Xattr{}, about(err, in.Nid, ""))
				return
			}
			if !in.yieldXattr(x, yield) {
				return
			}
		}
	}
}

func (in *Inode) yieldXattr(x rawXattr, yield func(tree.Xattr, error) bool) bool {
	name, err := in.img.xattrName(x)
	if err != nil {
		yield(tree.Xattr{}, about(err, in.Nid, ""))
		return false
	}
	return yield(tree.Xattr{Name: name, Value: string(x.value)}, nil)
}
