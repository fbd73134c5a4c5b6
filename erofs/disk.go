package erofs

// Names and values below are those of the kernel's fs/erofs/erofs_fs.h (Linux 6.18) and, for
// the composefs header, of libcomposefs 1.0.8. All integers on disk are little endian.

// The composefs header: 32 bytes at offset 0, before the EROFS superblock.
const (
	headerSize    = 32
	headerMagic   = 0xd078629a // u32 at 0
	headerVersion = 1          // u32 at 4
	headerFlagACL = 1          // bit of the u32 at 8: some inode has a POSIX ACL
	// u32 at 12: composefs_version, the Format; 16 zero bytes follow.
)

// The superblock: 128 bytes at offset 1024.
const (
	superOffset = 1024
	superSize   = 128
	superMagic  = 0xE0F5E1E2 // EROFS_SUPER_MAGIC_V1

	sbChecksum      = 4   // u32 checksum: crc32c, if featureCompatSBChecksum
	sbFeatureCompat = 8   // u32 feature_compat
	sbBlockBits     = 12  // u8 blkszbits: log2 of the block size
	sbExtSlots      = 13  // u8 sb_extslots: 16-byte units after the 128 bytes
	sbRootNid       = 14  // u16 rb.rootnid_2b
	sbInos          = 16  // u64 inos: number of inodes
	sbBuildTime     = 24  // u64 epoch: mtime of compact inodes, seconds
	sbBuildNsec     = 32  // u32 fixed_nsec
	sbBlocks        = 36  // u32 blocks_lo: size of the image in blocks
	sbMetaBlock     = 40  // u32 meta_blkaddr: block where nid 0 lies
	sbXattrBlock    = 44  // u32 xattr_blkaddr: block where shared xattr id 0 lies
	sbUUID          = 48  // 16 bytes
	sbVolumeName    = 64  // 16 bytes
	sbIncompat      = 80  // u32 feature_incompat
	sbDevices       = 86  // u16 extra_devices
	sbDevTable      = 88  // u16 devt_slotoff, in 128-byte units
	sbDirBlockBits  = 90  // u8 dirblkbits
	sbXattrPrefixes = 91  // u8 xattr_prefix_count
	sbXattrPrefix   = 92  // u32 xattr_prefix_start, in 4-byte units
	sbPackedNid     = 96  // u64 packed_nid
	sbXattrFilter   = 104 // u8 xattr_filter_reserved: not 0 if the filter must be ignored
	sbRootNid8      = 112 // u64 rootnid_8b: if featureIncompat48Bit and not 0
	sbMetaboxNid    = 128 // u64 metabox_nid: if featureIncompatMetabox, in the first ext slot
)

// Device slots: 128 bytes each, from devt_slotoff.
const (
	deviceSlotSize = 128
	devTag         = 0  // 64 bytes: name or digest
	devBlocks      = 64 // u32 blocks_lo
	devUniaddr     = 68 // u32 uniaddr_lo: where it lies in the one address space of all devices
	devBlocksHigh  = 72 // u32 blocks_hi
	devUniaddrHigh = 76 // u16 uniaddr_hi
)

// Bits of feature_compat.
const (
	featureCompatSBChecksum  = 0x1
	featureCompatMtime       = 0x2
	featureCompatXattrFilter = 0x4

	featureCompatSharedEAInMetabox = 0x8  // shared attributes lie in the metabox inode
	featureCompatPlainXattrPrefix  = 0x10 // long prefixes lie in no inode
)

// Bits of feature_incompat.
const (
	featureIncompatLZ4ZeroPad   = 0x1
	featureIncompatComprCfgs    = 0x2
	featureIncompatChunkedFile  = 0x4
	featureIncompatDeviceTable  = 0x8
	featureIncompatZtailpacking = 0x10
	featureIncompatFragments    = 0x20
	featureIncompatPrefixes     = 0x40
	featureIncompat48Bit        = 0x80
	featureIncompatMetabox      = 0x100

	featureIncompatAll = 2*featureIncompatMetabox - 1
)

// Inodes.
const (
	nidSize           = 32 // a nid counts these units from meta_blkaddr
	compactInodeSize  = 32
	extendedInodeSize = 64

	formatExtended = 1 // bit 0 of i_format
	// Bit 4 of i_format: a directory leaves out ".", another compact inode has one link and
	// uses the place of i_nlink for the high bits of its block address (Linux 6.15).
	formatBit4 = 1 << 4
	formatAll  = 1<<5 - 1

	nidMetabox = 1 << 63 // bit of a nid: the inode lies in the metabox inode

	// Bits 1 to 3 of i_format: how i_u and the space after the inode are used.
	layoutFlatPlain  = 0 // EROFS_INODE_FLAT_PLAIN
	layoutCompressed = 1 // EROFS_INODE_COMPRESSED_FULL
	layoutFlatInline = 2 // EROFS_INODE_FLAT_INLINE
	layoutCompact    = 3 // EROFS_INODE_COMPRESSED_COMPACT
	layoutChunked    = 4 // EROFS_INODE_CHUNK_BASED
)

// Chunk-based files: i_u holds a format, an array of block addresses follows the xattrs.
const (
	chunkBitsMask  = 0x1f // log2 of the chunk size, less log2 of the block size
	chunkIndexes   = 0x20 // entries are 8-byte indexes, not 4-byte addresses
	chunk48Bit     = 0x40 // indexes have 48-bit addresses
	chunkFormatAll = 0x7f
	nullBlock      = 0xffffffff // EROFS_NULL_ADDR: a hole
	chunkMapEntry  = 4          // bytes of a block address
	chunkIndexSize = 8          // u16 advise, u16 device id, u32 block address
)

// Directory blocks: headers first, then the names.
const (
	direntSize = 12 // u64 nid, u16 nameoff, u8 file_type, u8 reserved
)

// File types in directory entries: EROFS_FT_*, the same as the kernel's FT_*.
const (
	ftRegular = 1
	ftDir     = 2
	ftChar    = 3
	ftBlock   = 4
	ftFIFO    = 5
	ftSocket  = 6
	ftSymlink = 7
)

// Extended attributes.
const (
	xattrHeaderSize = 12 // u32 name filter, u8 shared count, 7 reserved
	xattrEntrySize  = 4  // u8 name length, u8 name index, u16 value length
	xattrLongPrefix = 0x80
	// filterSeed is EROFS_XATTR_FILTER_SEED. Bit xxh32(suffix, seed+index) mod 32 of the
	// filter is clear if the inode has an attribute that hashes to it.
	filterSeed = 0x25BBE08F
)

// Xattr name indexes: EROFS_XATTR_INDEX_*. The index stands for a prefix that is left out.
const (
	xattrIndexNone       = 0
	xattrIndexUser       = 1
	xattrIndexACLAccess  = 2
	xattrIndexACLDefault = 3
	xattrIndexTrusted    = 4
	xattrIndexLustre     = 5
	xattrIndexSecurity   = 6
)

// xattrPrefixes are the prefixes by name index.
var xattrPrefixes = [...]string{
	xattrIndexNone:       "",
	xattrIndexUser:       "user.",
	xattrIndexACLAccess:  "system.posix_acl_access",
	xattrIndexACLDefault: "system.posix_acl_default",
	xattrIndexTrusted:    "trusted.",
	xattrIndexLustre:     "lustre.",
	xattrIndexSecurity:   "security.",
}

// The attributes that tell overlayfs where an external file's data is, and how it hides
// names (Documentation/filesystems/overlayfs.rst). A tree's own attributes of that kind are
// escaped by one more "overlay.".
const (
	xattrOverlay        = "trusted.overlay."
	xattrOverlayEscaped = "trusted.overlay.overlay."
	xattrMetacopy       = "trusted.overlay.metacopy"
	xattrRedirect       = "trusted.overlay.redirect"
	xattrOpaque         = "trusted.overlay.opaque"

	// What a whiteout and its directory become, so that overlayfs sees them in the mounted
	// image and not in the image's own layer.
	xattrEscapedWhiteout  = "trusted.overlay.overlay.whiteout"
	xattrEscapedWhiteouts = "trusted.overlay.overlay.whiteouts"
	xattrEscapedOpaque    = "trusted.overlay.overlay.opaque"
	xattrUserWhiteout     = "user.overlay.whiteout"
	xattrUserWhiteouts    = "user.overlay.whiteouts"
	xattrUserOpaque       = "user.overlay.opaque"
)

// alignUp rounds n up to a multiple of a power of two.
func alignUp[T ~int | ~int64 | ~uint64 | ~uint32](n, a T) T { return (n + a - 1) &^ (a - 1) }
