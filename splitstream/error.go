package splitstream

import (
	"errors"
	"fmt"
)

// Errors that callers branch on.
var (
	// ErrCorrupt reports a splitstream whose parts contradict each other, lie outside of the
	// file or cannot be decompressed. The error is a [*CorruptError].
	ErrCorrupt = errors.New("corrupt splitstream")
	// ErrUnsupported reports a version, hash, block size or extent beyond this package.
	ErrUnsupported = errors.New("unsupported splitstream")
	// ErrMismatch reports a good splitstream that is not of the kind that was asked for.
	ErrMismatch = errors.New("splitstream of another kind")
)

// NoPosition is the value of a position in a [CorruptError] that does not apply.
const NoPosition = -1

// CorruptError says where a splitstream is broken. It unwraps to [ErrCorrupt].
type CorruptError struct {
	Section string // such as "object_refs"
	Offset  int64  // of the wrong bytes in the file; of a compressed section its start
	Decoded int64  // where in the decompressed section, or NoPosition
	Reason  string
}

func (e *CorruptError) Error() string {
	s := fmt.Sprintf("%v: %s at byte %d", ErrCorrupt, e.Section, e.Offset)
	if e.Decoded != NoPosition {
		s += fmt.Sprintf(", decompressed byte %d", e.Decoded)
	}
	return s + ": " + e.Reason
}

func (e *CorruptError) Unwrap() error { return ErrCorrupt }

func corruptf(section string, offset int64, format string, args ...any) error {
	return &CorruptError{section, offset, NoPosition, fmt.Sprintf(format, args...)}
}

func unsupportedf(offset int64, format string, args ...any) error {
	return fmt.Errorf("%w: byte %d: %s", ErrUnsupported, offset, fmt.Sprintf(format, args...))
}
