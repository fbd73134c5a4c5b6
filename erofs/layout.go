package erofs

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/go-composefs/composefs/tree"
)

const (
	blockBits = 12
	blockSize = 1 << blockBits // bytes; composefs images have no other

	// Chunks of external files have 4 KiB to 8 TiB.
	chunkBitsMin = blockBits
	chunkBitsMax = 43

	// Limits of V2's readers, which keep all content with the inode.
	maxInlineV2 = 512
	maxTargetV2 = 1024
)

var zeroBlock [blockSize]byte

// place gives every inode its form and position, and so fixes the size of the image.
func (p *plan) place() error {
	if p.format != FormatV2 {
		p.findBuildTime()
	}
	pos, dataBlocks := uint64(superOffset+superSize), uint64(0)
	for at := range p.inodes {
		in := &p.inodes[at]
		if err := p.sizeData(uint32(at)); err != nil {
			return err
		}
		if p.needsExtended(in) {
			in.flags |= flagExtended
		}
		pos = alignUp(pos, nidSize)
		if p.format == FormatV2 {
			pos += padV2(in, pos)
		} else {
			pos += padV1(in, pos)
		}
		in.pos = pos
		pos += in.headSize() + uint64(in.tail)
		dataBlocks += uint64(in.blocks)
	}
	p.inodesEnd = alignUp(pos, nidSize)
	p.dataStart = alignUp(p.inodesEnd+p.attrs.size, blockSize)
	p.blocks = p.dataStart/blockSize + dataBlocks
	if p.blocks > math.MaxUint32 {
		return fmt.Errorf("%w: an image of %d blocks", ErrLimit, p.blocks)
	}
	return nil
}

// findBuildTime sets the earliest mtime, which inodes of the compact form share.
func (p *plan) findBuildTime() {
	p.buildTime = p.root.Mtime
	for i := range p.inodes {
		if t := p.inodes[i].node.Mtime; t.Compare(p.buildTime) < 0 {
			p.buildTime = t
		}
	}
}

// headSize returns the bytes of the inode itself and its xattr area.
func (in *plannedInode) headSize() uint64 {
	if in.flags&flagExtended != 0 {
		return extendedInodeSize + uint64(in.xattrSize)
	}
	return compactInodeSize + uint64(in.xattrSize)
}

// size returns i_size in bytes.
func (in *plannedInode) size() uint64 {
	switch n := in.node; {
	case n.IsDir():
		return uint64(in.blocks)*blockSize + uint64(in.tail)
	case n.IsSymlink():
		return uint64(len(n.Target))
	case n.IsRegular():
		return n.Size
	}
	return 0
}

// sizeData decides how many bytes of an inode's data go to blocks of their own and how many
// follow it as its tail.
func (p *plan) sizeData(at uint32) error {
	in := &p.inodes[at]
	n := in.node
	blocks, tail := uint32(0), uint32(0)
	switch n.Type() {
	case tree.TypeDir:
		blocks, tail = p.dirSize(at)
	case tree.TypeSymlink:
		if err := p.checkSymlink(n); err != nil {
			return fmt.Errorf("%s: %w", p.path(at), err)
		}
		tail = uint32(len(n.Target))
	case tree.TypeRegular:
		if err := p.checkFile(n); err != nil {
			return fmt.Errorf("%s: %w", p.path(at), err)
		}
		switch {
		case n.IsExternal():
			_, chunks := p.chunking(n.Size)
			tail = chunks * chunkMapEntry
		case p.format == FormatV2:
			tail = uint32(n.Size)
		default:
			blocks, tail = uint32(n.Size/blockSize), uint32(n.Size%blockSize)
			if tail > blockSize/2 {
				blocks, tail = blocks+1, 0
			}
		}
	case tree.TypeChar, tree.TypeBlock, tree.TypeFIFO, tree.TypeSocket:
	default:
		return fmt.Errorf("%s: %w: mode %o has no file type", p.path(at), ErrTree, n.Mode)
	}
	in.blocks, in.tail = blocks, uint16(tail)
	return nil
}

func (p *plan) checkSymlink(n *tree.Inode) error {
	limit := tree.MaxTarget
	if p.format == FormatV2 {
		limit = maxTargetV2
	}
	switch {
	case n.Target == "":
		return fmt.Errorf("%w: symlink without a target", ErrTree)
	case len(n.Target) > limit:
		return fmt.Errorf("%w: symlink target of %d bytes, at most %d are possible", ErrLimit, len(n.Target), limit)
	}
	return nil
}

func (p *plan) checkFile(n *tree.Inode) error {
	limit := tree.MaxInline
	if p.format == FormatV2 {
		limit = maxInlineV2
	}
	switch {
	case len(n.Content) > 0 && uint64(len(n.Content)) != n.Size:
		return fmt.Errorf("%w: inline content of %d bytes in a file of %d", ErrTree, len(n.Content), n.Size)
	case len(n.Content) > limit:
		return fmt.Errorf("%w: inline content of %d bytes, at most %d are possible", ErrLimit, len(n.Content), limit)
	case n.Size > tree.MaxExternalSize:
		return fmt.Errorf("%w: file too large: %d bytes, at most %d are possible", ErrLimit, n.Size, uint64(tree.MaxExternalSize))
	case len(n.Backing) > tree.MaxTarget:
		return fmt.Errorf("%w: backing path of %d bytes, at most %d are possible", ErrLimit, len(n.Backing), tree.MaxTarget)
	}
	return nil
}

// chunking returns the chunk size of an external file as a power of two, and how many chunks
// there are: as few as possible, for all are holes.
func (p *plan) chunking(size uint64) (chunkBits, chunks uint32) {
	if p.format == FormatV2 {
		return blockBits + chunkBitsMask, 1
	}
	chunkBits = min(chunkBitsMax, max(chunkBitsMin, uint32(bits.Len64(size-1))))
	return chunkBits, uint32((size + 1<<chunkBits - 1) >> chunkBits)
}

// needsExtended says whether the inode has values that the compact form cannot hold. For
// devices, FIFOs and sockets the recorded size decides too, though 0 is written
// (pinned by the peers' sample honggfuzz-chardev-nonzero-size).
func (p *plan) needsExtended(in *plannedInode) bool {
	n := in.node
	size := in.size()
	if !n.IsDir() && !n.IsSymlink() && in.flags&flagWhiteout == 0 {
		size = n.Size
	}
	return p.format == FormatV2 || n.Mtime != p.buildTime ||
		p.nlink(in) > math.MaxUint16 || n.UID > math.MaxUint16 || n.GID > math.MaxUint16 ||
		size > math.MaxUint32
}

// nlink returns the link count: derived for directories, else as the tree records it.
func (p *plan) nlink(in *plannedInode) uint32 {
	if !in.node.IsDir() {
		return in.node.Nlink
	}
	links := uint32(2)
	for i := range in.node.Children {
		if in.node.Children[i].Inode.IsDir() {
			links++
		}
	}
	return links
}

// padV1 returns the zero bytes that go before an inode so that its tail does not cross a
// block, moving the tail to blocks of its own where it would not fit in any
// (pinned by TestVectors/symlinks, dir-tail-2048 and chunk-array-spill).
func padV1(in *plannedInode, pos uint64) uint64 {
	head, tail := in.headSize(), uint64(in.tail)
	toNextBlock := alignUp(pos, blockSize) - pos
	if in.node.IsSymlink() {
		// All of an inline symlink shares one block: Linux before 5.17 wants that.
		total := head + tail
		if total >= blockSize {
			in.blocks++
			in.tail = 0
		}
		if pos/blockSize != (pos+total-1)/blockSize {
			return toNextBlock
		}
		return 0
	}
	room := blockSize - (pos+head)%blockSize
	if room >= tail {
		return 0
	}
	pad := alignUp(room, nidSize)
	if room := blockSize - (pos+head+pad)%blockSize; tail <= room {
		return pad
	}
	in.blocks++
	in.tail = 0
	return toNextBlock
}

// padV2 is the same for V2, which moves whole inodes and counts one byte too many
// (pinned by TestPinnedIDs and TestGoldenBoundaries).
func padV2(in *plannedInode, pos uint64) uint64 {
	if in.tail == 0 || in.node.IsExternal() {
		return 0
	}
	last := pos + in.headSize() - 1
	if last/blockSize == (pos+in.headSize()+uint64(in.tail))/blockSize {
		return 0
	}
	return alignUp(pos+blockSize-last%blockSize, nidSize) - pos
}
