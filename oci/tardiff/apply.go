package tardiff

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// ApplyOptions limit what a delta may do. The zero value is meant for layers of container images.
type ApplyOptions struct {
	MaxOutput int64 // bytes of the tar; 0 means 64 GiB
	MaxOps    int64 // operations; 0 means 64 million
	// MaxWindow bounds the bytes of memory that the compression may ask for, and those of a source that a delta of version
	// 2 patches, which is held in memory. 0 means 128 MiB, which zstd(1) allows.
	MaxWindow uint64
}

const (
	defaultMaxOutput = 64 << 30
	defaultMaxOps    = 64 << 20
	defaultMaxWindow = 128 << 20

	// chunk is how many bytes are read and written at once.
	chunk = 64 << 10
)

func (o ApplyOptions) withDefaults() ApplyOptions {
	if o.MaxOutput == 0 {
		o.MaxOutput = defaultMaxOutput
	}
	if o.MaxOps == 0 {
		o.MaxOps = defaultMaxOps
	}
	if o.MaxWindow == 0 {
		o.MaxWindow = defaultMaxWindow
	}
	return o
}

// Apply follows a delta and writes the tar that it makes to w, as it goes. It reads the delta to its end.
//
// What goes wrong with the delta or the old image is an [*OpError], which unwraps to [ErrFormat],
// [ErrSource], [ErrLimit], or what Source or the delta's reader failed with. What w fails with is returned
// as it is. The digest of what was written is the caller's to check.
func Apply(ctx context.Context, delta io.Reader, source Source, w io.Writer, opts ApplyOptions) error {
	opts = opts.withDefaults()
	ops, err := newOperations(delta, opts.MaxWindow)
	if err != nil {
		return err
	}
	defer ops.close()
	p := &patcher{
		ctx: ctx, opts: opts, ops: ops, w: w, source: reader{source: source},
		from: make([]byte, chunk), more: make([]byte, chunk),
	}
	defer p.close()
	return errors.Join(p.run(), p.source.close())
}

// patcher follows the operations of one delta.
type patcher struct {
	ctx    context.Context
	opts   ApplyOptions
	ops    *operations
	source reader
	w      io.Writer
	output int64 // bytes written
	werr   error // what w failed with

	from, more []byte        // buffers for a chunk of the source and of the delta
	zstd       *zstd.Decoder // for patches; nil until there is one
}

func (p *patcher) close() {
	if p.zstd != nil {
		p.zstd.Close()
	}
}

func (p *patcher) run() error {
	for {
		index, at := p.ops.index, p.ops.at
		op, size, err := p.ops.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		name := ""
		if err == nil {
			name = opNames[op]
			err = p.allowed(op, size)
		}
		if err == nil {
			err = p.do(op, size)
		}
		switch {
		case err == nil:
		case p.werr != nil:
			return p.werr
		default:
			return &OpError{Index: index, Op: name, Offset: at, Output: p.output, Path: p.source.path, Err: err}
		}
	}
}

// allowed checks an operation against the limits before any of it is done.
func (p *patcher) allowed(op byte, size uint64) error {
	if p.ops.index > p.opts.MaxOps {
		return fmt.Errorf("%w: more than %d operations", ErrLimit, p.opts.MaxOps)
	}
	switch {
	case op == opOpen && size > maxPath:
		return fmt.Errorf("%w: a path of %d bytes, at most %d are possible", ErrLimit, size, maxPath)
	case op == opAdd && size > maxAdd:
		return fmt.Errorf("%w: %d bytes in one operation, at most %d are possible", ErrLimit, size, maxAdd)
	case op <= opAdd && op != opOpen && size > uint64(p.opts.MaxOutput-p.output):
		return p.tooLarge()
	}
	return nil
}

func (p *patcher) tooLarge() error {
	return fmt.Errorf("%w: the tar would be larger than %d bytes", ErrLimit, p.opts.MaxOutput)
}

func (p *patcher) do(op byte, size uint64) error {
	switch op {
	case opOpen:
		name := make([]byte, size)
		if err := p.ops.read(name); err != nil {
			return err
		}
		p.source.path = string(name)
		return p.source.open(p.source.path)
	case opSeek:
		return p.source.seek(size)
	case opPatch:
		return p.patch(size)
	case opCopy, opAdd:
		if err := p.source.has(size); err != nil {
			return err
		}
	}
	for size > 0 {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		n := int(min(size, chunk))
		out, err := p.chunk(op, n)
		if err != nil {
			return err
		}
		if err := p.write(out); err != nil {
			return err
		}
		size -= uint64(n)
	}
	return nil
}

// write writes a part of the tar.
func (p *patcher) write(b []byte) error {
	n, err := p.w.Write(b)
	p.output += int64(n)
	if err != nil {
		p.werr = fmt.Errorf("write tar: %w", err)
	}
	return p.werr
}

// chunk returns the next n bytes that an operation makes. They are valid until the next call.
func (p *patcher) chunk(op byte, n int) ([]byte, error) {
	from, more := p.from[:n], p.more[:n]
	if op != opData {
		if err := p.source.read(from); err != nil {
			return nil, err
		}
	}
	if op == opCopy {
		return from, nil
	}
	if err := p.ops.read(more); err != nil {
		return nil, err
	}
	if op == opAdd {
		addBytes(more, from)
	}
	return more, nil
}

// addBytes adds each byte of b to that of a, modulo 256. They are of one length.
func addBytes(a, b []byte) {
	// Eight at once: the upper bits are added apart, so that nothing is carried into the next byte.
	const low = 0x7f7f7f7f7f7f7f7f
	for len(a) >= 8 && len(b) >= 8 {
		x, y := binary.LittleEndian.Uint64(a), binary.LittleEndian.Uint64(b)
		binary.LittleEndian.PutUint64(a, ((x&low)+(y&low))^((x^y)&^low))
		a, b = a[8:], b[8:]
	}
	for i := range a {
		a[i] += b[i]
	}
}
