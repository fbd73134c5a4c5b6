package tardiff

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// frame is what belongs to a patch: one zstd frame, which may refer to all of the source as if that stood before it, as
// zstd(1) makes them with --patch-from.
type frame struct {
	ops  *operations
	left uint64 // bytes of it
	err  error  // why the delta could not be read
}

func (f *frame) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	if uint64(len(p)) > f.left {
		p = p[:f.left]
	}
	n, err := f.ops.buf.Read(p)
	f.ops.at += int64(n)
	f.left -= uint64(n)
	if n > 0 {
		return n, nil // an error comes again
	}
	f.err = f.ops.explain(err)
	return 0, f.err
}

// patch writes what a frame of size bytes makes of the source, whose place is its end after that.
func (p *patcher) patch(size uint64) error {
	f := &frame{ops: p.ops, left: size}
	base, err := p.source.all(p.opts.MaxWindow)
	if err != nil {
		return err
	}
	if p.zstd == nil {
		p.zstd, err = newDecoder(nil, p.opts.MaxWindow)
	}
	if err == nil {
		err = p.zstd.ResetWithOptions(f, zstd.WithDecoderDictRaw(0, base))
	}
	for err == nil {
		if err = p.ctx.Err(); err != nil {
			return err
		}
		var n int
		n, err = p.zstd.Read(p.more)
		if int64(n) > p.opts.MaxOutput-p.output {
			return p.tooLarge()
		}
		if err := p.write(p.more[:n]); err != nil {
			return err
		}
	}
	switch {
	case f.err != nil:
		return f.err
	case !errors.Is(err, io.EOF):
		return p.ops.explain(err)
	case size == 0:
		return formatf("a patch of no bytes")
	}
	return nil
}

// all returns all of the source, and moves its place to the end.
func (r *reader) all(limit uint64) ([]byte, error) {
	if r.file == nil {
		return nil, formatf("no source is open")
	}
	size := r.file.Size()
	if size < 0 || uint64(size) > limit {
		return nil, fmt.Errorf("%w: a patch of a source of %d bytes, at most %d are allowed", ErrLimit, size, limit)
	}
	base := make([]byte, size)
	r.at = 0
	return base, r.read(base)
}
