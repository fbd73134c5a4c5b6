package dumpfile

import (
	"bytes"
	"fmt"
	"io"

	"github.com/go-composefs/composefs/tree"
)

// ReadOptions change how a dump is read.
type ReadOptions struct {
	// Name is the dump's name in errors; empty means "dump".
	Name string
	// Strict also refuses what mkcomposefs refuses with CFS_PARSE_STRICT set: a missing
	// last newline, device numbers of what is no device, symlinks with a wrong size or
	// with content.
	Strict bool
}

const (
	readBlock = 256 << 10
	// maxLine bounds the memory that one line can take. Content, payload and attributes
	// have limits far below; only paths of absurd depth come near.
	maxLine = 64 << 20
)

// Read reads a dump into a tree and returns its root. An error is a [*SyntaxError], or wraps
// what r returned. Memory is a few hundred bytes for each line, and one block for reading.
func Read(r io.Reader, opts ReadOptions) (*tree.Inode, error) {
	if opts.Name == "" {
		opts.Name = "dump"
	}
	b := &builder{opts: opts, unsorted: map[*tree.Inode]map[string]*tree.Inode{}}
	if err := b.addLines(r); err != nil {
		return nil, err
	}
	return b.finish()
}

// addLines calls addLine for each line of r, without its newline.
func (b *builder) addLines(r io.Reader) error {
	buf := make([]byte, 0, readBlock)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		seen := len(buf) // no newline before it
		buf = buf[:seen+n]
		start := 0
		for {
			i := bytes.IndexByte(buf[seen:], '\n')
			if i < 0 {
				break
			}
			if err := b.addLine(buf[start:seen+i], true); err != nil {
				return err
			}
			start = seen + i + 1
			seen = start
		}
		switch {
		case err == io.EOF && start < len(buf):
			return b.addLine(buf[start:], false)
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("%s:%d: read: %w", b.opts.Name, b.line+1, err)
		}
		rest := copy(buf[:cap(buf)], buf[start:])
		buf = buf[:rest]
		if rest >= maxLine {
			return b.errorAt(b.line+1, "", "line too long: more than %d bytes", maxLine)
		}
		if rest == cap(buf) {
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
	}
}
