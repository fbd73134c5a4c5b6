package tardiff

import (
	"errors"
	"fmt"
)

// Errors that callers branch on.
var (
	// ErrFormat reports input that is no tar-diff, or a broken one.
	ErrFormat = errors.New("not a tar-diff, or a broken one")
	// ErrUnsupported reports a version of the format that this package does not know.
	ErrUnsupported = errors.New("unsupported tar-diff")
	// ErrSource reports a delta that wants what the old image does not have: it is not the image that
	// the delta was made for.
	ErrSource = errors.New("not the image that the delta was made for")
	// ErrLimit reports a delta that goes beyond [ApplyOptions].
	ErrLimit = errors.New("delta beyond the limits")
	// ErrArtifact reports an artifact that is not an oci-delta, or one that contradicts itself.
	ErrArtifact = errors.New("not an oci-delta, or a broken one")
)

// An OpError says where a delta could not be followed.
type OpError struct {
	Index  int64  // of the operation, from 0
	Op     string // such as "copy"; empty if it could not be read
	Offset int64  // where the operation begins in the decompressed delta, in bytes
	Output int64  // bytes of the tar that had been made until it failed
	Path   string // of the file that was open, or was to be opened
	Err    error
}

func (e *OpError) Error() string {
	what := "operation"
	if e.Op != "" {
		what = e.Op
	}
	s := fmt.Sprintf("delta: %s %d at byte %d, byte %d of the tar", what, e.Index, e.Offset, e.Output)
	if e.Path != "" {
		s += fmt.Sprintf(", source %q", e.Path)
	}
	return s + ": " + e.Err.Error()
}

func (e *OpError) Unwrap() error { return e.Err }

// formatf returns an [ErrFormat] that says more.
func formatf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}
