package erofs

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// emitter writes a finished plan from front to back, hashing what it writes.
type emitter struct {
	p    *plan
	w    io.Writer
	hash *fsverity.Hasher

	buf     []byte // what is not written yet
	flushed int64  // bytes written before buf
	err     error  // the first error of w; nothing is written after it

	nextBlock uint64     // block number of the next inode's data
	dirents   []dirEntry // the directory block being made
}

// emitBuffer is how much is collected before it is hashed and written.
const emitBuffer = 256 << 10

func newEmitter(p *plan, w io.Writer, alg fsverity.Algorithm) (*emitter, error) {
	hash, err := fsverity.NewHasher(fsverity.Options{Algorithm: alg})
	if err != nil {
		return nil, fmt.Errorf("digest of the image: %w", err)
	}
	// One directory block or one inode with all its attributes may overshoot the limit.
	return &emitter{p: p, w: w, hash: hash, buf: make([]byte, 0, emitBuffer+64<<10)}, nil
}

func (e *emitter) offset() int64           { return e.flushed + int64(len(e.buf)) }
func (e *emitter) digest() fsverity.Digest { return e.hash.Digest() }

// flush writes what is collected.
func (e *emitter) flush() {
	if e.err == nil {
		_, e.err = e.hash.Write(e.buf)
	}
	if e.err == nil {
		_, e.err = e.w.Write(e.buf)
	}
	e.flushed += int64(len(e.buf))
	e.buf = e.buf[:0]
}

func (e *emitter) flushFull() {
	if len(e.buf) >= emitBuffer {
		e.flush()
	}
}

// padTo appends zeros up to an offset in the image, which is less than two blocks away.
func (e *emitter) padTo(pos uint64) {
	for e.offset() < int64(pos) && e.err == nil {
		n := min(int64(pos)-e.offset(), blockSize)
		e.buf = append(e.buf, zeroBlock[:n]...)
	}
}

// image writes everything.
func (e *emitter) image() error {
	p := e.p
	e.appendHeader()
	e.padTo(superOffset)
	e.appendSuper()
	e.nextBlock = p.dataStart / blockSize
	for at := 0; at < len(p.inodes) && e.err == nil; at++ {
		e.padTo(p.inodes[at].pos)
		e.appendInode(uint32(at))
		e.appendTail(uint32(at))
		e.flushFull()
	}
	e.padTo(p.inodesEnd)
	for _, r := range p.attrs.shared {
		e.buf = p.attrs.appendEntry(e.buf, r)
		e.flushFull()
	}
	e.padTo(p.dataStart)
	for at := 0; at < len(p.inodes) && e.err == nil; at++ {
		if p.inodes[at].blocks > 0 {
			e.appendBlocks(uint32(at))
			e.flushFull()
		}
	}
	e.flush()
	return e.err
}

func (e *emitter) appendHeader() {
	flags := uint32(0)
	if e.p.format != FormatV2 && e.p.hasACL() {
		flags |= headerFlagACL
	}
	for _, v := range []uint32{headerMagic, headerVersion, flags, e.p.format.Version(), 0, 0, 0, 0} {
		e.buf = binary.LittleEndian.AppendUint32(e.buf, v)
	}
}

// hasACL says whether any inode has an attribute of exactly an ACL's name.
func (p *plan) hasACL() bool {
	for i := range p.attrs.attrs {
		a := &p.attrs.attrs[i]
		if (a.index == xattrIndexACLAccess || a.index == xattrIndexACLDefault) && int(a.prefix) == len(a.Name) {
			return true
		}
	}
	return false
}

func (e *emitter) appendSuper() {
	var sb [superSize]byte
	le := binary.LittleEndian
	le.PutUint32(sb[0:], superMagic)
	le.PutUint32(sb[sbFeatureCompat:], featureCompatMtime|featureCompatXattrFilter)
	sb[sbBlockBits] = blockBits
	le.PutUint16(sb[sbRootNid:], uint16(e.p.inodes[0].pos/nidSize))
	le.PutUint64(sb[sbInos:], uint64(len(e.p.inodes)))
	le.PutUint64(sb[sbBuildTime:], uint64(e.p.buildTime.Sec))
	le.PutUint32(sb[sbBuildNsec:], e.p.buildTime.Nsec)
	le.PutUint32(sb[sbBlocks:], uint32(e.p.blocks))
	if e.p.format != FormatV2 {
		le.PutUint32(sb[sbXattrBlock:], uint32(e.p.inodesEnd/blockSize))
	}
	e.buf = append(e.buf, sb[:]...)
}

// appendInode appends the inode proper and its xattr area.
func (e *emitter) appendInode(at uint32) {
	p, in := e.p, &e.p.inodes[at]
	n := in.node
	icount := uint16(0)
	if in.xattrSize > 0 {
		icount = uint16((in.xattrSize-xattrHeaderSize)/4 + 1)
	}
	mode := uint16(n.Mode)
	if in.flags&flagWhiteout != 0 {
		mode = tree.TypeRegular | uint16(n.Perm())
	}
	ino := at
	if p.format == FormatV2 {
		ino = uint32(in.pos / nidSize)
	}
	size, u := in.size(), e.inodeUnion(in)
	le := binary.LittleEndian
	b := le.AppendUint16(e.buf, in.layout()<<1|in.extended())
	b = le.AppendUint16(b, icount)
	b = le.AppendUint16(b, mode)
	if in.flags&flagExtended == 0 {
		b = le.AppendUint16(b, uint16(p.nlink(in)))
		b = le.AppendUint32(b, uint32(size))
		b = le.AppendUint32(b, 0)
		b = le.AppendUint32(b, u)
		b = le.AppendUint32(b, ino)
		b = le.AppendUint16(b, uint16(n.UID))
		b = le.AppendUint16(b, uint16(n.GID))
		b = le.AppendUint32(b, 0)
	} else {
		nsec := n.Mtime.Nsec
		if p.format == FormatV2 {
			nsec = 0 // V2 leaves it out (pinned by TestV2DropsNanoseconds)
		}
		b = le.AppendUint16(b, 0)
		b = le.AppendUint64(b, size)
		b = le.AppendUint32(b, u)
		b = le.AppendUint32(b, ino)
		b = le.AppendUint32(b, n.UID)
		b = le.AppendUint32(b, n.GID)
		b = le.AppendUint64(b, uint64(n.Mtime.Sec))
		b = le.AppendUint32(b, nsec)
		b = le.AppendUint32(b, p.nlink(in))
		b = append(b, zeroBlock[:16]...)
	}
	e.buf = b
	if in.xattrSize > 0 {
		e.appendXattrs(at)
	}
}

func (in *plannedInode) extended() uint16 {
	if in.flags&flagExtended != 0 {
		return formatExtended
	}
	return 0
}

// layout returns the data layout of the inode.
func (in *plannedInode) layout() uint16 {
	switch {
	case in.node.IsExternal():
		return layoutChunked
	case in.tail > 0:
		return layoutFlatInline
	}
	return layoutFlatPlain
}

// inodeUnion returns i_u and moves nextBlock past the inode's blocks.
func (e *emitter) inodeUnion(in *plannedInode) uint32 {
	u := uint32(0)
	if in.blocks > 0 {
		u = uint32(e.nextBlock)
		e.nextBlock += uint64(in.blocks)
	}
	switch n := in.node; {
	case n.IsExternal():
		// A chunk array that had to move to a block leaves the high half of the block's
		// number behind (pinned by TestVectors/chunk-array-spill for number < 65536).
		chunkBits, _ := e.p.chunking(n.Size)
		u = u&^math.MaxUint16 | (chunkBits - blockBits)
	case n.IsDevice() && in.flags&flagWhiteout == 0:
		u = n.Rdev
	}
	return u
}

// appendXattrs appends the xattr area: header, references to shared attributes, the others.
func (e *emitter) appendXattrs(at uint32) {
	t := &e.p.attrs
	refs := e.p.refs(at)
	filter, shared := ^uint32(0), 0
	for _, r := range refs {
		filter &^= t.filterBit(r)
		if *t.usersOf(r) != notShared {
			shared++
		}
	}
	shared = min(shared, maxShared(e.p.format))
	b := binary.LittleEndian.AppendUint32(e.buf, filter)
	b = append(b, byte(shared), 0, 0, 0, 0, 0, 0, 0)
	left := shared
	for _, r := range refs {
		if offset := *t.usersOf(r); offset != notShared && left > 0 {
			left--
			b = binary.LittleEndian.AppendUint32(b, e.p.sharedID(offset))
		}
	}
	left = shared
	for _, r := range refs {
		if *t.usersOf(r) != notShared && left > 0 {
			left--
			continue
		}
		b = t.appendEntry(b, r)
	}
	e.buf = b
}

// sharedID returns the number by which inodes refer to a shared attribute: its distance from
// xattr_blkaddr in units of 4 bytes. V2 counts from the start of the image.
func (p *plan) sharedID(offset users) uint32 {
	base := p.inodesEnd
	if p.format != FormatV2 {
		base %= blockSize
	}
	return uint32((base + uint64(offset)) / 4)
}

// appendTail appends what follows the xattr area.
func (e *emitter) appendTail(at uint32) {
	in := &e.p.inodes[at]
	if in.tail == 0 {
		return
	}
	switch n := in.node; {
	case n.IsDir():
		e.appendDir(at, true)
	case n.IsSymlink():
		e.buf = append(e.buf, n.Target...)
	case n.IsExternal():
		for range in.tail {
			e.buf = append(e.buf, nullBlock&0xff)
		}
	default:
		e.buf = append(e.buf, n.Content[len(n.Content)-int(in.tail):]...)
	}
}

// appendBlocks appends the data blocks of an inode.
func (e *emitter) appendBlocks(at uint32) {
	in := &e.p.inodes[at]
	start := len(e.buf)
	switch n := in.node; {
	case n.IsDir():
		e.appendDir(at, false)
		return
	case n.IsSymlink():
		e.buf = append(e.buf, n.Target...)
	case n.IsExternal():
		for range blockSize {
			e.buf = append(e.buf, nullBlock&0xff)
		}
	default:
		e.buf = append(e.buf, n.Content[:len(n.Content)-int(in.tail)]...)
	}
	end := start + int(in.blocks)*blockSize
	e.buf = append(e.buf, zeroBlock[:end-len(e.buf)]...)
}
