package containersstorage

import (
	"errors"
	"fmt"
	"io/fs"
)

// Errors that callers branch on.
var (
	// ErrNotFound reports that no store has an image of that name.
	ErrNotFound = errors.New("no such image in the containers' storage")
	// ErrAmbiguous reports a name or the beginning of an ID that several images have.
	ErrAmbiguous = errors.New("more than one image is meant")
	// ErrNoStorage reports that there is no storage where the configuration says.
	ErrNoStorage = errors.New("no containers' storage")
	// ErrConfig reports a storage.conf that cannot be understood.
	ErrConfig = errors.New("bad storage.conf")
	// ErrCorrupt reports a storage whose parts contradict each other.
	ErrCorrupt = errors.New("corrupt containers' storage")
	// ErrChanged reports a file of a layer that is not what it was when the layer was made.
	ErrChanged = errors.New("file of a layer has changed")
	// ErrUnsupported reports a driver or a form of layers that this package does not read.
	ErrUnsupported = errors.New("unsupported containers' storage")
)

func corruptf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// hint says what to do if an ordinary user's storage cannot be read: its files belong to the users of
// the containers, which only a process in the same user namespace may be.
func hint(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w (files of a rootless storage belong to the users of its containers: "+
			"run the command under `podman unshare`, or as root)", err)
	}
	return err
}
