package erofs

import (
	"fmt"
	"io"

	"github.com/go-composefs/composefs/tree"
)

// device is an extra device: a file apart from the image that holds data.
type device struct {
	r      io.ReaderAt
	blocks uint64 // its size
	start  uint64 // its first block in the address space of all devices, or 0
}

// readDevices reads the device table. Each slot is 128 bytes of the image.
func (img *Image) readDevices() error {
	for i := range uint64(img.sb.Devices) {
		b, err := img.win.bytes(img.sb.devTable+i*deviceSlotSize, deviceSlotSize)
		if err != nil {
			return err
		}
		d := device{
			blocks: uint64(le.Uint32(b[devBlocks:])),
			start:  uint64(le.Uint32(b[devUniaddr:])),
		}
		if img.sb.Incompat&featureIncompat48Bit != 0 {
			d.blocks |= uint64(le.Uint32(b[devBlocksHigh:])) << 32
			d.start |= uint64(le.Uint16(b[devUniaddrHigh:])) << 32
		}
		img.devices = append(img.devices, d)
	}
	return nil
}

// SetDevices gives the extra devices that the image's files lie on, in the order of its device
// table, and must be called before the image is used by several goroutines. Without them all
// else can be read; an image with its devices appended to it is read as one.
func (img *Image) SetDevices(devices ...io.ReaderAt) error {
	if len(devices) != len(img.devices) {
		return fmt.Errorf("set devices: %d given, the image has %d", len(devices), len(img.devices))
	}
	for i, r := range devices {
		img.devices[i].r = r
	}
	return nil
}

// extent is a range of a file's data that lies in one piece.
type extent struct {
	pos    uint64 // byte offset
	n      uint64 // bytes, more than 0
	source extentSource
	device int // index of the extra device
}

type extentSource uint8

const (
	inImage extentSource = iota
	inMetabox
	inDevice
	inHole
)

// extent returns the range that starts at byte off of the data, which must be before the end.
func (in *Inode) extent(off uint64) (extent, error) {
	switch in.Layout {
	case LayoutFlat, LayoutInline:
		return in.flatExtent(off)
	case LayoutChunked:
		return in.chunkExtent(off)
	case LayoutCompressedFull, LayoutCompressedCompact:
	}
	return extent{}, unsupportedf(in.Nid, "compressed data (%s)", in.Layout)
}

func (in *Inode) flatExtent(off uint64) (extent, error) {
	end := in.Size
	if in.Layout == LayoutInline {
		end = (in.Size - 1) >> in.img.sb.BlockBits << in.img.sb.BlockBits
		if off >= end {
			e := extent{pos: in.tailPos() + off - end, n: in.Size - off}
			if in.inBox {
				e.source = inMetabox
			}
			return e, nil
		}
	}
	if in.hole {
		return extent{n: end - off, source: inHole}, nil
	}
	return in.img.locate(in.start, 0, off, end-off)
}

func (in *Inode) chunkExtent(off uint64) (extent, error) {
	bits := uint(in.img.sb.BlockBits) + uint(in.chunkFormat&chunkBitsMask)
	number := off >> bits
	within := off & (1<<bits - 1)
	n := min(1<<bits-within, in.Size-off)
	unit := uint64(chunkMapEntry)
	if in.chunkFormat&chunkIndexes != 0 {
		unit = chunkIndexSize
	}
	b, err := in.img.meta(in.inBox, alignUp(in.tailPos(), unit)+number*unit, int(unit))
	if err != nil {
		return extent{}, about(err, in.Nid, "")
	}
	block, null, id := uint64(le.Uint32(b)), uint64(nullBlock), 0
	if unit == chunkIndexSize {
		block = uint64(le.Uint32(b[4:]))
		if in.chunkFormat&chunk48Bit != 0 {
			block |= uint64(le.Uint16(b)) << 32
			null = 1<<48 - 1
		}
		id = int(le.Uint16(b[2:]))
	}
	if block == null {
		return extent{n: n, source: inHole}, nil
	}
	e, err := in.img.locate(block, id, within, n)
	return e, about(err, in.Nid, "")
}

// locate returns where data is that starts off bytes after a block of a device; 0 stands for
// the image and for the address space of all devices.
func (img *Image) locate(block uint64, id int, off, n uint64) (extent, error) {
	if id != 0 {
		// The kernel masks the id down to as many bits as the number of devices needs.
		mask := 1
		for mask <= len(img.devices) {
			mask <<= 1
		}
		id &= mask - 1
	}
	pos := img.blockPos(block)
	if pos+off < pos || pos+off > 1<<63-1 {
		return extent{}, corruptf(NoNid, noOffset, "block %d lies beyond any address", block)
	}
	pos += off
	if id == 0 {
		for i := range img.devices {
			d := &img.devices[i]
			first := img.blockPos(d.start)
			if d.r != nil && d.start != 0 && pos >= first && (pos-first)>>img.sb.BlockBits < d.blocks {
				return extent{pos: pos - first, n: n, source: inDevice, device: i}, nil
			}
		}
		return extent{pos: pos, n: n}, nil
	}
	if id > len(img.devices) {
		return extent{}, corruptf(NoNid, superOffset+sbDevices, "data on device %d of %d", id, len(img.devices))
	}
	d := &img.devices[id-1]
	if d.r != nil {
		return extent{pos: pos, n: n, source: inDevice, device: id - 1}, nil
	}
	// An image that its devices are appended to.
	if flat := img.blockPos(d.start) + pos; d.start != 0 && flat >= pos && flat < img.win.size {
		return extent{pos: flat, n: n}, nil
	}
	return extent{}, unsupportedf(NoNid, "data on extra device %d, which is not given (EROFS_FEATURE_INCOMPAT_DEVICE_TABLE)", id)
}

// bytes returns n bytes of the data, which the caller must not change.
func (in *Inode) bytes(off uint64, n int) ([]byte, error) {
	if off > in.Size || uint64(n) > in.Size-off {
		return nil, corruptf(in.Nid, in.pos, "bytes %d to %d of its data are wanted and it has %d", off, off+uint64(n), in.Size)
	}
	if n == 0 {
		return nil, nil
	}
	e, err := in.extent(off)
	if err != nil {
		return nil, about(err, in.Nid, "")
	}
	if e.n >= uint64(n) && e.source == inImage {
		b, err := in.img.win.bytes(e.pos, n)
		return b, about(err, in.Nid, "")
	}
	if uint64(n) > in.img.win.size {
		// Holes could stand for any number of bytes; metadata never needs so many.
		return nil, corruptf(in.Nid, in.pos, "%d bytes of metadata in a smaller image", n)
	}
	b := make([]byte, n)
	_, err = in.ReadAt(b, int64(off))
	return b, err
}

// ReadAt implements [io.ReaderAt] for the data that the image has: in composefs images those
// of a file in the store are zeros. Directories and symlinks have data too. Special files are
// empty.
func (in *Inode) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read inode %s: negative offset", formatNid(in.Nid))
	}
	done := 0
	for done < len(b) {
		at := uint64(off) + uint64(done)
		if at >= in.Size || !in.hasData() {
			return done, io.EOF
		}
		e, err := in.extent(at)
		if err != nil {
			return done, about(err, in.Nid, "")
		}
		part := b[done:]
		part = part[:min(uint64(len(part)), e.n)]
		if err := in.img.readExtent(part, e); err != nil {
			return done, about(err, in.Nid, "")
		}
		done += len(part)
	}
	return done, nil
}

// hasData says whether the type is one whose inodes have data.
func (in *Inode) hasData() bool {
	switch in.Type() {
	case tree.TypeDir, tree.TypeRegular, tree.TypeSymlink:
		return true
	}
	return false
}

func (img *Image) readExtent(b []byte, e extent) error {
	switch e.source {
	case inHole:
		clear(b)
		return nil
	case inMetabox:
		part, err := img.meta(true, e.pos, len(b))
		copy(b, part)
		return err
	case inDevice:
		n, err := img.devices[e.device].r.ReadAt(b, int64(e.pos))
		if n == len(b) {
			return nil
		}
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read extra device %d at byte %d: %w", e.device+1, e.pos+uint64(n), err)
	case inImage:
	}
	return img.win.read(b, e.pos)
}
