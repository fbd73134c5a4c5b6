package erofs

import "encoding/binary"

// dirEntry is an entry as a directory block has it.
type dirEntry struct {
	name string
	at   uint32 // position of the inode in the plan
}

// dirEntries calls yield for all entries of the directory at position at, "." and ".." among
// them, in the byte order of their names. "." is not always first: "!x" and "-x" sort before.
func (p *plan) dirEntries(at uint32, yield func(dirEntry)) {
	dots := [2]dirEntry{{".", at}, {"..", p.inodes[at].parent}}
	next := 0
	kids := p.kids[p.inodes[at].kids:]
	entries := p.children(at)
	for i := range entries {
		for next < 2 && dots[next].name < entries[i].Name {
			yield(dots[next])
			next++
		}
		yield(dirEntry{entries[i].Name, kids[i]})
	}
	for ; next < 2; next++ {
		yield(dots[next])
	}
}

// dirSize returns how many full blocks a directory fills and how many bytes are left for the
// tail. An entry that does not fit starts a new block, and a tail of more than half a block
// becomes a block (pinned by TestVectors/dir-tail-2048 and dir-tail-2049).
func (p *plan) dirSize(at uint32) (blocks, tail uint32) {
	p.dirEntries(at, func(e dirEntry) {
		size := uint32(direntSize + len(e.name))
		if tail+size > blockSize {
			blocks++
			tail = 0
		}
		tail += size
	})
	if tail > blockSize/2 {
		return blocks + 1, 0
	}
	return blocks, tail
}

// appendDir appends the directory's tail, or its full blocks, zero padded.
func (e *emitter) appendDir(at uint32, wantTail bool) {
	full := e.p.inodes[at].blocks
	block, size := uint32(0), 0
	e.dirents = e.dirents[:0]
	emit := func() {
		if isTail := block == full; isTail == wantTail {
			e.appendDirBlock(!isTail)
		}
	}
	e.p.dirEntries(at, func(d dirEntry) {
		n := direntSize + len(d.name)
		if size+n > blockSize {
			emit()
			e.dirents = e.dirents[:0]
			block++
			size = 0
		}
		size += n
		e.dirents = append(e.dirents, d)
	})
	emit()
}

// appendDirBlock appends one block: the headers of all its entries, then their names.
func (e *emitter) appendDirBlock(pad bool) {
	b, start := e.buf, len(e.buf)
	nameOff := len(e.dirents) * direntSize
	for _, d := range e.dirents {
		in := &e.p.inodes[d.at]
		b = binary.LittleEndian.AppendUint64(b, in.pos/nidSize)
		b = binary.LittleEndian.AppendUint16(b, uint16(nameOff))
		b = append(b, in.fileType(), 0)
		nameOff += len(d.name)
	}
	for _, d := range e.dirents {
		b = append(b, d.name...)
	}
	if pad {
		b = append(b, zeroBlock[:blockSize-(len(b)-start)]...)
	}
	e.buf = b
	e.flushFull()
}

// fileType returns the type that directory entries record.
func (in *plannedInode) fileType() uint8 {
	if in.flags&flagWhiteout != 0 {
		return ftRegular
	}
	return fileTypeOf(in.node.Mode)
}
