package mount

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
)

// Errors that callers branch on. Lacking privileges match [io/fs.ErrPermission], and what the
// kernel cannot do at all matches [errors.ErrUnsupported].
var (
	// ErrNotComposefs reports a file that is no composefs image, or one of an unknown
	// header version.
	ErrNotComposefs = errors.New("not a composefs image")
	// ErrNoVerity reports that fs-verity was asked for and is missing: on the image (then
	// it comes in a [DigestError]) or on the filesystem of an object directory.
	ErrNoVerity = errors.New("no fs-verity")
	// ErrWrongVerity reports an image with another digest than expected. It comes in a
	// [DigestError].
	ErrWrongVerity = errors.New("wrong fs-verity digest")
	// ErrNotMounted reports that no composefs mount is where one should be unmounted.
	ErrNotMounted = errors.New("not a composefs mount")
	// ErrOptions reports [Options] that contradict each other.
	ErrOptions = errors.New("bad mount options")
)

// DigestError reports an image that could not be shown to be the expected one.
type DigestError struct {
	Image string          // name of the image
	Want  fsverity.Digest // never zero
	Got   fsverity.Digest // zero if the image has no fs-verity
	Err   error           // ErrNoVerity or ErrWrongVerity
}

func (e *DigestError) Error() string {
	if e.Got.IsZero() {
		return fmt.Sprintf("image %s: %v, so the kernel cannot tell its digest", e.Image, e.Err)
	}
	return fmt.Sprintf("image %s: %v: it is %v, expected %v", e.Image, e.Err, e.Got, e.Want)
}

// Unwrap returns Err.
func (e *DigestError) Unwrap() error { return e.Err }

// KernelError reports what the kernel refused, with its own words.
type KernelError struct {
	Doing    string   // what was tried: "mount image /srv/app.cfs"
	Err      error    // the system call's error
	Messages []string // what the kernel said about it, often nothing
}

func (e *KernelError) Error() string {
	text := e.Doing + ": " + e.Err.Error()
	if len(e.Messages) > 0 {
		text += " (" + strings.Join(e.Messages, "; ") + ")"
	}
	return text
}

// Unwrap returns Err.
func (e *KernelError) Unwrap() error { return e.Err }
