package erofs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/go-composefs/composefs/tree"
)

var le = binary.LittleEndian

// Superblock is what an image says about itself (struct erofs_super_block).
type Superblock struct {
	BlockBits  uint8  // log2 of the block size, 9 to 16
	DirBits    uint8  // log2 of the size of a directory block
	RootNid    uint64 // of the root directory
	Inodes     uint64 // as claimed
	Blocks     uint64 // size of the image in blocks, as claimed
	BuildTime  tree.Timespec
	MetaBlock  uint32 // block where nid 0 lies
	XattrBlock uint32 // block from which shared attributes are counted
	UUID       [16]byte
	VolumeName string
	Compat     uint32 // feature_compat
	Incompat   uint32 // feature_incompat
	Devices    uint16 // extra devices that hold file data
	PackedNid  uint64 // inode that holds tails of files and long attribute prefixes, or 0
	MetaboxNid uint64 // inode that holds metadata, if featureIncompatMetabox

	devTable    uint64 // byte offset of the device slots
	prefixCount int
	prefixStart uint64 // byte offset
	noFilter    bool   // xattr_filter_reserved is set
}

// BlockSize returns the size of a block in bytes.
func (s *Superblock) BlockSize() int { return 1 << s.BlockBits }

// Image is an EROFS image that is read. All methods are safe for concurrent use.
type Image struct {
	win  window
	sb   Superblock
	head header

	devices []device
	// prefixes are the long attribute prefixes; prefixErr says why there are none.
	prefixes  []string
	prefixErr error
	// box is the inode that holds metadata, and boxErr why it cannot be read.
	box    *Inode
	boxErr error
}

// header is the composefs header; present is false in images that others made.
type header struct {
	present bool
	acl     bool
	format  Format
}

// Open reads the superblock of an EROFS image of size bytes, of composefs or of anyone else.
// Whatever is read later is checked when it is read. The caller keeps r open, and unchanged,
// for as long as the image is in use.
//
// Errors are [ErrCorrupt], also for what is no EROFS image at all, [ErrUnsupported], or what
// r returned.
func Open(r io.ReaderAt, size int64) (*Image, error) {
	if size < superOffset+superSize {
		return nil, corruptf(NoNid, 0, "%d bytes are too few for an EROFS image", max(size, 0))
	}
	img := &Image{win: window{r: r, size: uint64(size)}}
	if err := img.readSuper(); err != nil {
		return nil, err
	}
	if err := img.readHeader(); err != nil {
		return nil, err
	}
	if err := img.readDevices(); err != nil {
		return nil, err
	}
	if img.sb.Incompat&featureIncompatMetabox != 0 {
		img.openBox()
	}
	img.prefixes, img.prefixErr = img.readPrefixes()
	return img, nil
}

// OpenFile is [Open] for a file or block device, which the caller closes after its last use
// of the image.
func OpenFile(f *os.File) (*Image, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open image: %w", err)
	}
	size := info.Size()
	if !info.Mode().IsRegular() { // stat tells no size of a block device
		if size, err = f.Seek(0, io.SeekEnd); err != nil {
			return nil, fmt.Errorf("open image: %w", err)
		}
	}
	img, err := Open(f, size)
	if err != nil {
		return nil, fmt.Errorf("open image %s: %w", f.Name(), err)
	}
	return img, nil
}

// Super returns the superblock.
func (img *Image) Super() Superblock { return img.sb }

// Size returns the size of the image in bytes.
func (img *Image) Size() int64 { return int64(img.win.size) }

// Composefs says whether the image has the composefs header. In one that has not, file
// content is in the image, and attributes mean what they say.
func (img *Image) Composefs() bool { return img.head.present }

// Format returns the version of the composefs format, and FormatAuto if the image is not of
// composefs.
func (img *Image) Format() Format { return img.head.format }

// HasACL says whether the composefs header announces POSIX ACLs.
func (img *Image) HasACL() bool { return img.head.acl }

func (img *Image) readSuper() error {
	b, err := img.win.bytes(superOffset, superSize)
	if err != nil {
		return err
	}
	if magic := le.Uint32(b); magic != superMagic {
		return corruptf(NoNid, superOffset, "no EROFS superblock: magic is %#x", magic)
	}
	s := &img.sb
	s.BlockBits = b[sbBlockBits]
	if s.BlockBits < 9 || s.BlockBits > 16 {
		return corruptf(NoNid, superOffset+sbBlockBits, "block size is 2^%d bytes, want 2^9 to 2^16", s.BlockBits)
	}
	s.Compat, s.Incompat = le.Uint32(b[sbFeatureCompat:]), le.Uint32(b[sbIncompat:])
	if unknown := s.Incompat &^ featureIncompatAll; unknown != 0 {
		return unsupportedf(NoNid, "unknown bits %#x in feature_incompat", unknown)
	}
	if err := img.verifyChecksum(); err != nil {
		return err
	}
	s.DirBits = s.BlockBits + b[sbDirBlockBits]
	if b[sbDirBlockBits] > 16 || s.DirBits > 16 {
		return corruptf(NoNid, superOffset+sbDirBlockBits, "directory blocks are beyond 64 KiB: dirblkbits is %d", b[sbDirBlockBits])
	}
	s.RootNid = uint64(le.Uint16(b[sbRootNid:]))
	s.Inodes = le.Uint64(b[sbInos:])
	s.Blocks = uint64(le.Uint32(b[sbBlocks:]))
	s.BuildTime = tree.Timespec{Sec: int64(le.Uint64(b[sbBuildTime:])), Nsec: le.Uint32(b[sbBuildNsec:])}
	s.MetaBlock, s.XattrBlock = le.Uint32(b[sbMetaBlock:]), le.Uint32(b[sbXattrBlock:])
	copy(s.UUID[:], b[sbUUID:])
	name, _, _ := bytes.Cut(b[sbVolumeName:sbVolumeName+16], []byte{0})
	s.VolumeName = string(name)
	s.PackedNid = le.Uint64(b[sbPackedNid:])
	s.prefixCount = int(b[sbXattrPrefixes])
	s.prefixStart = uint64(le.Uint32(b[sbXattrPrefix:])) * 4
	s.noFilter = b[sbXattrFilter] != 0
	if s.Incompat&featureIncompatDeviceTable != 0 {
		s.Devices = le.Uint16(b[sbDevices:])
		s.devTable = uint64(le.Uint16(b[sbDevTable:])) * deviceSlotSize
	}
	if nid := le.Uint64(b[sbRootNid8:]); s.Incompat&featureIncompat48Bit != 0 && nid != 0 {
		s.Blocks |= s.RootNid << 32 // the 16-bit root nid gives way to blocks_hi
		s.RootNid = nid
	}
	if s.Incompat&featureIncompatMetabox != 0 {
		if b[sbExtSlots] == 0 {
			return corruptf(NoNid, superOffset+sbExtSlots, "the superblock is too short to name its metabox inode")
		}
		ext, err := img.win.bytes(superOffset+sbMetaboxNid, 8)
		if err != nil {
			return err
		}
		if s.MetaboxNid = le.Uint64(ext); s.MetaboxNid&nidMetabox != 0 {
			return corruptf(NoNid, superOffset+sbMetaboxNid, "the metabox inode lies in itself")
		}
	}
	if meta := uint64(s.MetaBlock) << s.BlockBits; meta >= img.win.size {
		return corruptf(NoNid, superOffset+sbMetaBlock, "the inodes start at byte %d and the image has %d", meta, img.win.size)
	}
	return nil
}

// verifyChecksum checks crc32c over the rest of the block that holds the superblock, without
// the final inversion and with the field itself as 0.
func (img *Image) verifyChecksum() error {
	if img.sb.Compat&featureCompatSBChecksum == 0 {
		return nil
	}
	n := img.sb.BlockSize()
	if n > superOffset {
		n -= superOffset
	}
	b, err := img.win.bytes(superOffset, n)
	if err != nil {
		return err
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, b[:sbChecksum])
	sum = crc32.Update(sum, table, make([]byte, 4))
	sum = ^crc32.Update(sum, table, b[sbChecksum+4:])
	if want := le.Uint32(b[sbChecksum:]); sum != want {
		return corruptf(NoNid, superOffset+sbChecksum, "the superblock's checksum is %#08x, it says %#08x", sum, want)
	}
	return nil
}

func (img *Image) readHeader() error {
	b, err := img.win.bytes(0, headerSize)
	if err != nil {
		return err
	}
	if le.Uint32(b) != headerMagic {
		return nil
	}
	if v := le.Uint32(b[4:]); v != headerVersion {
		return unsupportedf(NoNid, "composefs header version %d", v)
	}
	format := le.Uint32(b[12:])
	if format > FormatV2.Version() {
		return unsupportedf(NoNid, "composefs_version %d", format)
	}
	img.head = header{
		present: true,
		acl:     le.Uint32(b[8:])&headerFlagACL != 0,
		format:  FormatV0 + Format(format),
	}
	if img.blockPos(img.sb.Blocks) > img.win.size {
		return corruptf(NoNid, superOffset+sbBlocks, "the image is cut off: %d blocks of %d bytes are announced, there are %d bytes",
			img.sb.Blocks, img.sb.BlockSize(), img.win.size)
	}
	return nil
}

// blockPos returns the byte offset of a block, or ^0 for one beyond what 64 bits can address,
// which lies outside of any image.
func (img *Image) blockPos(block uint64) uint64 {
	pos := block << img.sb.BlockBits
	if pos>>img.sb.BlockBits != block {
		return ^uint64(0)
	}
	return pos
}

// openBox finds the metabox inode. Failure does not prevent the image from being opened: it is
// told when something in the box is wanted.
func (img *Image) openBox() {
	box, err := img.Inode(img.sb.MetaboxNid)
	switch {
	case err != nil:
		img.boxErr = err
	case box.compressed():
		img.boxErr = unsupportedf(NoNid, "metadata in a compressed metabox (EROFS_FEATURE_INCOMPAT_METABOX, %s)", box.Layout)
	default:
		img.box = box
	}
}

// meta returns n bytes of metadata at pos of the image, or of the metabox. The caller must
// not change them.
func (img *Image) meta(inBox bool, pos uint64, n int) ([]byte, error) {
	if !inBox {
		return img.win.bytes(pos, n)
	}
	if img.box == nil {
		if img.boxErr == nil {
			return nil, corruptf(NoNid, pos, "metadata is said to be in a metabox and the image has none")
		}
		return nil, img.boxErr
	}
	return img.box.bytes(pos, n)
}
