package tardiff

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// What a delta begins with.
const (
	magic      = "tardf1\n\x00"
	magic2     = "tardf2\n\x00" // of version 2
	magicBegin = "tardf"        // of any
)

// Operations, as the format numbers them.
const (
	opData = iota
	opOpen
	opCopy
	opAdd
	opSeek
	opPatch // not in version 1
	opCount
)

var opNames = [opCount]string{"data", "open", "copy", "add", "seek", "patch"}

// Limits of the format that other implementations have.
const (
	maxPath = 4096      // bytes of a path
	maxAdd  = 100 << 20 // bytes of one add
)

// operations reads the operations of a delta one by one.
type operations struct {
	last  byte // the operation with the highest number that its version has
	zstd  *zstd.Decoder
	in    *counter
	buf   *bufio.Reader
	index int64 // of the next operation
	at    int64 // bytes read, decompressed
}

// newOperations reads the head of a delta. The result has to be closed.
func newOperations(r io.Reader, maxWindow uint64) (*operations, error) {
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(r, head); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, formatf("it is shorter than %d bytes", len(magic))
		}
		return nil, fmt.Errorf("read delta: %w", err)
	}
	last := byte(opSeek)
	switch {
	case string(head) == magic:
	case string(head) == magic2:
		last = opPatch
	case strings.HasPrefix(string(head), magicBegin):
		return nil, fmt.Errorf("%w: it begins with %q", ErrUnsupported, head)
	default:
		return nil, formatf("it begins with %q", head)
	}
	in := &counter{r: r}
	z, err := newDecoder(in, maxWindow)
	if err != nil {
		return nil, err
	}
	return &operations{last: last, zstd: z, in: in, buf: bufio.NewReaderSize(z, chunk)}, nil
}

// newDecoder returns a decoder that works while it is read, without goroutines.
func newDecoder(r io.Reader, maxWindow uint64) (*zstd.Decoder, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("decompress delta: %w", err)
	}
	return z, nil
}

func (o *operations) close() { o.zstd.Close() }

// next returns the next operation and its size, and io.EOF behind the last one.
func (o *operations) next() (op byte, size uint64, err error) {
	op, err = o.buf.ReadByte()
	switch {
	case errors.Is(err, io.EOF) && o.in.err == nil:
		if o.in.n == 0 {
			return 0, 0, formatf("it is cut short")
		}
		return 0, 0, io.EOF
	case err != nil:
		return 0, 0, o.explain(err)
	case op > o.last:
		return 0, 0, formatf("there is no operation %d", op)
	}
	o.at++
	o.index++
	size, err = o.uvarint()
	return op, size, err
}

func (o *operations) uvarint() (uint64, error) {
	// Nearly every time all of it is in the buffer; a few bytes less are at the end of the delta.
	b, err := o.buf.Peek(binary.MaxVarintLen64)
	size, n := binary.Uvarint(b)
	switch {
	case n > 0:
		o.at += int64(n)
		_, err = o.buf.Discard(n)
		return size, err
	case n < 0:
		return 0, formatf("a size of more than 64 bits")
	}
	return 0, o.explain(err)
}

// read fills p with what belongs to an operation.
func (o *operations) read(p []byte) error {
	n, err := io.ReadFull(o.buf, p)
	o.at += int64(n)
	if err != nil {
		return o.explain(err)
	}
	return nil
}

// explain tells a delta that is broken from one that cannot be read.
func (o *operations) explain(err error) error {
	switch {
	case o.in.err != nil:
		return fmt.Errorf("read delta: %w", o.in.err)
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("%w: it needs a larger window to decompress", ErrLimit)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return formatf("it is cut short")
	}
	return formatf("decompress: %v", err)
}

// counter counts what is read, and remembers why nothing more could be.
type counter struct {
	r   io.Reader
	n   int64
	err error // other than io.EOF
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}
