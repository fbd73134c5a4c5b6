package dumpfile

import (
	"bytes"
	"errors"
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

// ErrSyntax is what every [SyntaxError] unwraps to.
var ErrSyntax = errors.New("malformed dump")

// SyntaxError says what is wrong where in a dump.
type SyntaxError struct {
	Name   string // of the dump
	Line   int    // from 1; 0 for the dump as a whole
	Field  string // such as "gid"; empty for the line as a whole
	Reason string
}

// Error returns "NAME:LINE: FIELD: REASON".
func (e *SyntaxError) Error() string {
	s := e.Name
	if e.Line > 0 {
		s = fmt.Sprintf("%s:%d", s, e.Line)
	}
	if e.Field != "" {
		s += ": " + e.Field
	}
	return s + ": " + e.Reason
}

// Unwrap returns [ErrSyntax].
func (e *SyntaxError) Unwrap() error { return ErrSyntax }

const (
	readBlock = 256 << 10
	// maxLine bounds the memory that one line can take. Content, payload and attributes
	// have limits far below; only paths of absurd depth come near.
	maxLine = 64 << 20
)

// Read reads a dump into a tree and returns its root. An error is a [*SyntaxError], or what r
// returned. Memory is a few hundred bytes for each line.
func Read(r io.Reader, opts ReadOptions) (*tree.Inode, error) {
	if opts.Name == "" {
		opts.Name = "dump"
	}
	b := newBuilder(opts)
	if err := eachLine(r, b.addLine); err != nil {
		return nil, b.position(err)
	}
	root, err := b.finish()
	return root, b.position(err)
}

// eachLine calls f for each line of r, without its newline; complete is false for a last line
// that has none. The line is valid only during the call.
func eachLine(r io.Reader, f func(line []byte, complete bool) error) error {
	buf := make([]byte, 0, readBlock)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		seen := len(buf)
		buf = buf[:seen+n]
		start := 0
		for {
			i := bytes.IndexByte(buf[seen:], '\n')
			if i < 0 {
				break
			}
			if err := f(buf[start:seen+i], true); err != nil {
				return err
			}
			start = seen + i + 1
			seen = start
		}
		switch {
		case err == io.EOF:
			if start < len(buf) {
				return f(buf[start:], false)
			}
			return nil
		case err != nil:
			return fmt.Errorf("read: %w", err)
		}
		rest := copy(buf[:cap(buf)], buf[start:])
		buf = buf[:rest]
		if rest == cap(buf) {
			if rest >= maxLine {
				return &SyntaxError{Reason: "line too long"}
			}
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
	}
}

// position completes an error with the place where reading stopped.
func (b *builder) position(err error) error {
	var syntax *SyntaxError
	if errors.As(err, &syntax) {
		syntax.Name = b.opts.Name
		if syntax.Line == 0 && !syntax.whole() {
			syntax.Line = b.line
		}
	} else if err != nil {
		err = fmt.Errorf("%s:%d: %w", b.opts.Name, b.line+1, err)
	}
	return err
}

// whole says whether the error is about the dump, not one line.
func (e *SyntaxError) whole() bool { return e.Reason == reasonEmpty }

const reasonEmpty = "No files in dump file"
