package dumpfile

import (
	"errors"
	"fmt"
)

// ErrSyntax is what every [SyntaxError] unwraps to.
var ErrSyntax = errors.New("malformed dump")

// SyntaxError says what is wrong where in a dump. The reason begins with, or contains, the
// words that mkcomposefs 1.0.8 has for the same mistake. It is printable ASCII and short,
// whatever the dump holds.
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

// errorf returns an error about a field of the line being read; field may be empty.
func (b *builder) errorf(field, format string, args ...any) error {
	return b.errorAt(b.line, field, format, args...)
}

func (b *builder) errorAt(line int, field, format string, args ...any) error {
	return &SyntaxError{Name: b.opts.Name, Line: line, Field: field, Reason: fmt.Sprintf(format, args...)}
}

// maxQuoted bounds what an error quotes of the dump, in bytes.
const maxQuoted = 200

// quote returns text of a dump in a form for errors: escaped as in dumps, and cut if long.
func quote[T string | []byte](s T) string {
	if len(s) <= maxQuoted {
		return string(appendEscaped(nil, s, 0))
	}
	return string(append(appendEscaped(nil, s[:maxQuoted], 0), "..."...))
}
