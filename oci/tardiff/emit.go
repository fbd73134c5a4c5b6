package tardiff

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// emitter writes operations.
type emitter struct {
	file  *countingWriter
	zstd  *zstd.Encoder
	head  []byte // of an operation
	data  []byte // of a data operation, not yet written
	path  string // the source; empty: none
	at    int64  // the place in it
	stats Stats
}

// dataSize is how many bytes of data are gathered for one operation.
const dataSize = 1 << 20

func newEmitter(w io.Writer, level int) (*emitter, error) {
	e := &emitter{file: &countingWriter{w: w}}
	if _, err := io.WriteString(e.file, magic); err != nil {
		return nil, fmt.Errorf("write delta: %w", err)
	}
	var err error
	// Several goroutines would be free to cut blocks in other places.
	e.zstd, err = zstd.NewWriter(e.file, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)))
	if err != nil {
		return nil, fmt.Errorf("compress delta: %w", err)
	}
	return e, nil
}

// finish ends the delta.
func (e *emitter) finish() error {
	if err := e.flush(); err != nil {
		return errors.Join(err, e.abandon())
	}
	if err := e.zstd.Close(); err != nil {
		return fmt.Errorf("write delta: %w", err)
	}
	e.stats.DeltaSize = e.file.n
	return nil
}

// abandon releases what a delta that failed holds.
func (e *emitter) abandon() error {
	e.file.w = io.Discard
	e.zstd.Reset(nil)
	return e.zstd.Close()
}

// literal writes bytes of the tar.
func (e *emitter) literal(p []byte) error {
	e.stats.Data += int64(len(p))
	for len(p) > 0 {
		n := min(len(p), dataSize-len(e.data))
		e.data = append(e.data, p[:n]...)
		p = p[n:]
		if len(e.data) == dataSize {
			if err := e.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *emitter) flush() error {
	if len(e.data) == 0 {
		return nil
	}
	err := e.operation(opData, uint64(len(e.data)), e.data)
	e.data = e.data[:0]
	return err
}

// copy writes n bytes of a file from a place on.
func (e *emitter) copy(path string, at, n int64) error {
	if err := e.source(path, at); err != nil {
		return err
	}
	e.at += n
	e.stats.Copied += n
	return e.operation(opCopy, uint64(n), nil)
}

// add writes the sum of diff and of a file from a place on.
func (e *emitter) add(path string, at int64, diff []byte) error {
	if err := e.source(path, at); err != nil {
		return err
	}
	e.stats.Added += int64(len(diff))
	for len(diff) > 0 {
		n := min(len(diff), maxAdd)
		e.at += int64(n)
		if err := e.operation(opAdd, uint64(n), diff[:n]); err != nil {
			return err
		}
		diff = diff[n:]
	}
	return nil
}

// operation writes one operation.
func (e *emitter) operation(op byte, size uint64, data []byte) error {
	e.head = binary.AppendUvarint(append(e.head[:0], op), size)
	if _, err := e.zstd.Write(e.head); err != nil {
		return fmt.Errorf("write delta: %w", err)
	}
	if _, err := e.zstd.Write(data); err != nil {
		return fmt.Errorf("write delta: %w", err)
	}
	return nil
}

// source makes a place in a file the next one.
func (e *emitter) source(path string, at int64) error {
	if err := e.flush(); err != nil {
		return err
	}
	if path != e.path {
		if err := e.operation(opOpen, uint64(len(path)), []byte(path)); err != nil {
			return err
		}
		e.path, e.at = path, 0
	}
	if at == e.at {
		return nil
	}
	e.at = at
	return e.operation(opSeek, uint64(at), nil)
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
