package erofs

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/go-composefs/composefs/tree"
)

// Dirent is one entry of a directory as the image has it.
type Dirent struct {
	Name string
	Nid  uint64
	Type uint8 // EROFS_FT_*: regular 1, directory 2, char 3, block 4, fifo 5, socket 6, symlink 7
}

// dirBlock is one block of a directory:
//
//	0        12       24            12n
//	├ dirent ┼ dirent ┼─ … ─────────┼ name ┼ name ┼ … ┼ zeros ┤
//	  │ u64 nid, u16 nameoff, u8 type, u8 reserved
//
// nameoff is where a name starts; it ends where the next one starts, and the last at the end of
// the block or before its first NUL.
type dirBlock struct {
	b   []byte
	n   int // entries
	end int // of the last name
}

// newDirBlock looks at the first entry and finds the end; reason is not empty if it is wrong.
func newDirBlock(b []byte) (d dirBlock, reason string) {
	if len(b) < direntSize {
		return d, fmt.Sprintf("a directory block has %d bytes", len(b))
	}
	first := int(le.Uint16(b[8:]))
	if first == 0 || first%direntSize != 0 || first > len(b) {
		return d, fmt.Sprintf("the first name of a directory block starts at %d of %d bytes", first, len(b))
	}
	d = dirBlock{b: b, n: first / direntSize, end: len(b)}
	last := d.nameStart(d.n - 1)
	if last > len(b) {
		return d, fmt.Sprintf("a name starts at %d of %d bytes of a directory block", last, len(b))
	}
	if nul := bytes.IndexByte(b[last:], 0); nul >= 0 {
		d.end = last + nul
	}
	return d, ""
}

func (d *dirBlock) nameStart(i int) int { return int(le.Uint16(d.b[i*direntSize+8:])) }
func (d *dirBlock) nid(i int) uint64    { return le.Uint64(d.b[i*direntSize:]) }
func (d *dirBlock) fileType(i int) byte { return d.b[i*direntSize+10] }

// name returns where a name starts and ends. It is empty where start is not before end, which
// is as wrong as a name that is too long.
func (d *dirBlock) name(i int) (start, end int, ok bool) {
	start, end = d.nameStart(i), d.end
	if i+1 < d.n {
		end = d.nameStart(i + 1)
	}
	ok = start >= d.n*direntSize && start < end && end <= d.end && end-start <= tree.MaxName
	return start, end, ok
}

// dirBlocks returns the number of blocks of a directory.
func (in *Inode) dirBlocks() uint64 {
	bits := in.img.sb.DirBits
	return in.Size>>bits + (in.Size&(1<<bits-1)+1<<bits-1)>>bits
}

// dirBlock returns a block of a directory.
func (in *Inode) dirBlock(i uint64) (dirBlock, error) {
	bits := in.img.sb.DirBits
	off := i << bits
	b, err := in.bytes(off, int(min(1<<bits, in.Size-off)))
	if err != nil {
		return dirBlock{}, err
	}
	d, reason := newDirBlock(b)
	if reason != "" {
		return d, in.corruptData(off, "%s", reason)
	}
	return d, nil
}

// corruptData reports what is wrong at a byte of the inode's data.
func (in *Inode) corruptData(off uint64, format string, args ...any) error {
	pos := noOffset
	if e, err := in.extent(off); err == nil && e.source == inImage {
		pos = e.pos
	}
	return corruptf(in.Nid, pos, format, args...)
}

// Dirents goes through a directory in its order, "." and ".." included where the image has
// them. After an error there is nothing more. Names and order are not checked beyond what it
// takes to read them.
func (in *Inode) Dirents() iter.Seq2[Dirent, error] {
	return func(yield func(Dirent, error) bool) {
		if !in.IsDir() {
			yield(Dirent{}, fmt.Errorf("list inode %s: %w", formatNid(in.Nid), tree.ErrNotDir))
			return
		}
		for i := range in.dirBlocks() {
			d, err := in.dirBlock(i)
			if err != nil {
				yield(Dirent{}, err)
				return
			}
			for k := range d.n {
				start, end, ok := d.name(k)
				if !ok {
					yield(Dirent{}, in.badName(i, k, start, end))
					return
				}
				if !yield(Dirent{string(d.b[start:end]), d.nid(k), d.fileType(k)}, nil) {
					return
				}
			}
		}
	}
}

func (in *Inode) badName(block uint64, entry, start, end int) error {
	off := block<<in.img.sb.DirBits + uint64(entry)*direntSize
	return in.corruptData(off, "the name of entry %d lies at %d to %d of its directory block", entry, start, end)
}

// Lookup finds a name by binary search, as the kernel does: over the blocks by their first
// names, then within a block. It returns [tree.ErrNotFound] for a name that is not there, and
// does not find every name of a directory that is out of order.
func (in *Inode) Lookup(name string) (Dirent, error) {
	if !in.IsDir() {
		return Dirent{}, fmt.Errorf("look up %q: %w", name, tree.ErrNotDir)
	}
	// The block wanted is the last whose first name is not after name.
	low, high := uint64(0), in.dirBlocks()
	var block dirBlock
	for low < high {
		mid := low + (high-low)/2
		d, err := in.dirBlock(mid)
		if err != nil {
			return Dirent{}, err
		}
		start, end, ok := d.name(0)
		if !ok {
			return Dirent{}, in.badName(mid, 0, start, end)
		}
		if string(d.b[start:end]) <= name {
			block, low = d, mid+1
		} else {
			high = mid
		}
	}
	for from, to := 0, block.n; from < to; {
		mid := from + (to-from)/2
		start, end, ok := block.name(mid)
		if !ok {
			return Dirent{}, in.badName(low-1, mid, start, end)
		}
		switch found := string(block.b[start:end]); {
		case found == name:
			return Dirent{name, block.nid(mid), block.fileType(mid)}, nil
		case found < name:
			from = mid + 1
		default:
			to = mid
		}
	}
	return Dirent{}, fmt.Errorf("look up %q: %w", name, tree.ErrNotFound)
}

// Readlink returns the target of a symlink: 1 to 4095 bytes without a NUL.
func (in *Inode) Readlink() (string, error) {
	if in.Type() != tree.TypeSymlink {
		return "", fmt.Errorf("read link of inode %s: it is none", formatNid(in.Nid))
	}
	if in.Size == 0 || in.Size > tree.MaxTarget {
		return "", corruptf(in.Nid, in.pos, "the symlink's target has %d bytes, want 1 to %d", in.Size, tree.MaxTarget)
	}
	b, err := in.bytes(0, int(in.Size))
	if err != nil {
		return "", err
	}
	if bytes.IndexByte(b, 0) >= 0 {
		return "", in.corruptData(0, "the symlink's target has a NUL")
	}
	return string(b), nil
}

// Data returns a reader of the inode's data, see [Inode.ReadAt].
func (in *Inode) Data() *io.SectionReader {
	if !in.hasData() {
		return io.NewSectionReader(strings.NewReader(""), 0, 0)
	}
	return io.NewSectionReader(in, 0, int64(in.Size))
}
