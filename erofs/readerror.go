package erofs

import (
	"errors"
	"fmt"
	"strings"
)

// Errors of the reader that callers branch on.
var (
	// ErrCorrupt reports an image whose parts contradict each other or lie outside of it.
	// The error is a [*CorruptError].
	ErrCorrupt = errors.New("corrupt image")
	// ErrUnsupported reports a part of EROFS that this package cannot read, compressed
	// data above all. The error is an [*UnsupportedError].
	ErrUnsupported = errors.New("unsupported by this reader")
)

// NoNid is the Nid of an error that concerns no single inode.
const NoNid = ^uint64(0)

// CorruptError says where an image is broken. It unwraps to [ErrCorrupt].
type CorruptError struct {
	Path   string // of the inode, if known
	Nid    uint64 // of the inode, or NoNid
	Offset int64  // of the wrong bytes in the image, or -1
	Reason string
}

func (e *CorruptError) Error() string {
	return describe("corrupt image", e.Path, e.Nid, e.Offset, e.Reason)
}

func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// UnsupportedError names what the reader cannot do. It unwraps to [ErrUnsupported].
type UnsupportedError struct {
	Path    string // of the inode, if known
	Nid     uint64 // of the inode, or NoNid for the image as a whole
	Feature string // with the kernel's name for it
}

func (e *UnsupportedError) Error() string {
	return describe("unsupported image feature", e.Path, e.Nid, -1, e.Feature)
}

func (e *UnsupportedError) Unwrap() error { return ErrUnsupported }

func describe(what, path string, nid uint64, offset int64, reason string) string {
	var b strings.Builder
	b.WriteString(what)
	if path != "" {
		fmt.Fprintf(&b, ": %s", path)
	}
	if nid != NoNid {
		fmt.Fprintf(&b, ": inode %s", formatNid(nid))
	}
	if offset >= 0 {
		fmt.Fprintf(&b, " at byte %d", offset)
	}
	fmt.Fprintf(&b, ": %s", reason)
	return b.String()
}

// formatNid writes a nid as a person can compare it: those in the metabox have a mark instead
// of bit 63.
func formatNid(nid uint64) string {
	if nid&nidMetabox != 0 {
		return fmt.Sprintf("metabox+%d", nid&^nidMetabox)
	}
	return fmt.Sprint(nid)
}

// noOffset is the offset of a fault that is at no one place.
const noOffset = ^uint64(0)

func corruptf(nid uint64, offset uint64, format string, args ...any) error {
	return &CorruptError{Nid: nid, Offset: int64(offset), Reason: fmt.Sprintf(format, args...)}
}

func unsupportedf(nid uint64, format string, args ...any) error {
	return &UnsupportedError{Nid: nid, Feature: fmt.Sprintf(format, args...)}
}

// about adds to an error of this package which inode and path it concerns, if it does not say.
func about(err error, nid uint64, path string) error {
	if c := (*CorruptError)(nil); errors.As(err, &c) {
		if c.Nid == NoNid {
			c.Nid = nid
		}
		if c.Path == "" {
			c.Path = path
		}
	}
	if u := (*UnsupportedError)(nil); errors.As(err, &u) {
		if u.Nid == NoNid {
			u.Nid = nid
		}
		if u.Path == "" {
			u.Path = path
		}
	}
	return err
}
