package erofs

import (
	"fmt"

	"github.com/go-composefs/composefs/tree"
)

// Layout is how an inode's data is kept: EROFS_INODE_* of the kernel.
type Layout uint8

// The data layouts. The compressed ones can be told and not read.
const (
	LayoutFlat              Layout = layoutFlatPlain  // in consecutive blocks
	LayoutCompressedFull    Layout = layoutCompressed // compressed, non-compact indexes
	LayoutInline            Layout = layoutFlatInline // in blocks, the last part after the inode
	LayoutCompressedCompact Layout = layoutCompact    // compressed, compact indexes
	LayoutChunked           Layout = layoutChunked    // in chunks that a table lists
)

// String returns the kernel's name of the layout.
func (l Layout) String() string {
	switch l {
	case LayoutFlat:
		return "EROFS_INODE_FLAT_PLAIN"
	case LayoutCompressedFull:
		return "EROFS_INODE_COMPRESSED_FULL"
	case LayoutInline:
		return "EROFS_INODE_FLAT_INLINE"
	case LayoutCompressedCompact:
		return "EROFS_INODE_COMPRESSED_COMPACT"
	case LayoutChunked:
		return "EROFS_INODE_CHUNK_BASED"
	}
	return fmt.Sprintf("data layout %d", uint8(l))
}

// Inode is one inode as the image has it: in composefs images with the overlayfs attributes
// that [Image.Tree] undoes. It can be copied and is safe for concurrent use.
type Inode struct {
	Nid    uint64 // its place in the image, which is its identity
	Size   uint64 // bytes; at most 1<<63-1
	Mtime  tree.Timespec
	Mode   uint32 // type and permission bits, as st_mode
	UID    uint32
	GID    uint32
	Nlink  uint32
	Rdev   uint32 // devices: Linux's 32-bit encoding
	Ino    uint32 // i_ino, a number without use for the reader
	Layout Layout

	img         *Image
	pos         uint64 // byte offset in the image or the metabox
	start       uint64 // flat layouts: first block
	xattrSize   uint32 // bytes of the attribute area
	bodySize    uint8  // bytes of the inode itself: 32 or 64
	chunkFormat uint16
	inBox       bool // pos is an offset in the metabox
	dotOmitted  bool // a directory without "."
	hole        bool // flat without any block: all zeros
}

// Type returns the file type bits of Mode.
func (in *Inode) Type() uint32 { return in.Mode & tree.TypeMask }

// IsDir says whether the inode is a directory.
func (in *Inode) IsDir() bool { return in.Type() == tree.TypeDir }

// IsRegular says whether the inode is a regular file.
func (in *Inode) IsRegular() bool { return in.Type() == tree.TypeRegular }

// IsWhiteout says whether the inode is a character device 0:0, which overlayfs takes for the
// mark of a deleted file.
func (in *Inode) IsWhiteout() bool { return in.Type() == tree.TypeChar && in.Rdev == 0 }

// Extended says whether the inode has the 64-byte form.
func (in *Inode) Extended() bool { return in.bodySize == extendedInodeSize }

func (in *Inode) compressed() bool {
	return in.Layout == LayoutCompressedFull || in.Layout == LayoutCompressedCompact
}

// tailPos returns where the attribute area ends.
func (in *Inode) tailPos() uint64 { return in.pos + uint64(in.bodySize) + uint64(in.xattrSize) }

// Root returns the root directory.
func (img *Image) Root() (*Inode, error) {
	in, err := img.Inode(img.sb.RootNid)
	if err != nil {
		return nil, err
	}
	if !in.IsDir() {
		return nil, corruptf(in.Nid, in.pos, "the root is no directory: its mode is %#o", in.Mode)
	}
	return in, nil
}

// Inode returns the inode of a nid. Any place of the image can be asked for: what is no inode
// gives [ErrCorrupt], [ErrUnsupported], or nonsense. Nids from directories are good.
func (img *Image) Inode(nid uint64) (*Inode, error) {
	in := &Inode{}
	if err := img.readInode(nid, in); err != nil {
		return nil, err
	}
	return in, nil
}

// inodePos returns the byte offset of an inode, in the metabox if inBox.
func (img *Image) inodePos(nid uint64) (pos uint64, inBox bool) {
	number := nid &^ nidMetabox
	if number > 1<<63/nidSize {
		return ^uint64(0), nid != number
	}
	if nid != number {
		return number * nidSize, true
	}
	return uint64(img.sb.MetaBlock)<<img.sb.BlockBits + number*nidSize, false
}

// readInode fills in, so that a loop needs no allocation per inode.
func (img *Image) readInode(nid uint64, in *Inode) error {
	pos, inBox := img.inodePos(nid)
	b, err := img.meta(inBox, pos, compactInodeSize)
	if err != nil {
		return about(err, nid, "")
	}
	format := le.Uint16(b)
	if format&^formatAll != 0 {
		return unsupportedf(nid, "bits %#x of i_format", format&^formatAll)
	}
	*in = Inode{
		Nid: nid, img: img, pos: pos, inBox: inBox,
		Mode:     uint32(le.Uint16(b[4:])),
		Layout:   Layout(format >> 1 & 7),
		Ino:      le.Uint32(b[20:]),
		bodySize: compactInodeSize,
	}
	if count := uint32(le.Uint16(b[2:])); count > 0 {
		in.xattrSize = xattrHeaderSize + (count-1)*4
	}
	union, high, mask := le.Uint32(b[16:]), uint16(0), uint64(1<<48-1)
	if format&formatExtended != 0 {
		if b, err = img.meta(inBox, pos, extendedInodeSize); err != nil {
			return about(err, nid, "")
		}
		in.bodySize = extendedInodeSize
		high = le.Uint16(b[6:])
		in.Size = le.Uint64(b[8:])
		in.UID, in.GID = le.Uint32(b[24:]), le.Uint32(b[28:])
		in.Mtime = tree.Timespec{Sec: int64(le.Uint64(b[32:])), Nsec: le.Uint32(b[40:])}
		in.Nlink = le.Uint32(b[44:])
	} else {
		in.Size = uint64(le.Uint32(b[8:]))
		in.UID, in.GID = uint32(le.Uint16(b[24:])), uint32(le.Uint16(b[26:]))
		in.Mtime = img.sb.BuildTime
		in.Mtime.Sec += int64(le.Uint32(b[12:]))
		in.Nlink = uint32(le.Uint16(b[6:]))
		if format&formatBit4 != 0 && !in.IsDir() {
			high, in.Nlink = le.Uint16(b[6:]), 1
		} else {
			mask = 1<<32 - 1
		}
	}
	return in.interpret(union, uint64(high)<<32|uint64(union), mask, format)
}

// interpret reads what the fields mean by type and layout: i_u, the block address that it is a
// part of, and the bits that count in that.
func (in *Inode) interpret(union uint32, block, mask uint64, format uint16) error {
	if in.Size > 1<<63-1 {
		return corruptf(in.Nid, in.pos, "the size is negative")
	}
	if in.Mtime.Nsec >= 1e9 {
		return corruptf(in.Nid, in.pos, "mtime has %d nanoseconds", in.Mtime.Nsec)
	}
	switch in.Type() {
	case tree.TypeDir, tree.TypeRegular, tree.TypeSymlink:
		in.dotOmitted = in.IsDir() && format&formatBit4 != 0
	case tree.TypeChar, tree.TypeBlock:
		in.Rdev = union
		return nil
	case tree.TypeFIFO, tree.TypeSocket:
		return nil
	default:
		return corruptf(in.Nid, in.pos, "mode %#o has no file type", in.Mode)
	}
	switch in.Layout {
	case LayoutFlat:
		in.start, in.hole = block, (block^mask)&mask == 0
	case LayoutInline:
		in.start = block
	case LayoutChunked:
		// The other half of i_u is reserved. In composefs images of files with more than
		// 1016 chunks it holds a part of a block number.
		in.chunkFormat = uint16(union)
		if unknown := in.chunkFormat &^ chunkFormatAll; unknown != 0 {
			return unsupportedf(in.Nid, "bits %#x of the chunk format", unknown)
		}
	case LayoutCompressedFull, LayoutCompressedCompact:
	default:
		return unsupportedf(in.Nid, "%s", in.Layout)
	}
	return nil
}
