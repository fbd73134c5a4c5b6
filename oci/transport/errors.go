package transport

import (
	"errors"
	"io/fs"
)

// Errors that callers branch on.
var (
	// ErrReference reports text that is no reference to an image.
	ErrReference = errors.New("bad image reference")
	// ErrNotFound reports an image, manifest, blob or repository that is not there. Registries say
	// so as well of what they do not want to show.
	ErrNotFound = fs.ErrNotExist
	// ErrUnauthorized reports credentials that are missing or wrong.
	ErrUnauthorized = errors.New("not logged in, or wrong credentials")
	// ErrDenied reports what the credentials do not allow, and registries that the configuration blocks.
	ErrDenied = errors.New("access denied")
	// ErrDigest reports content that is not what its digest or size says.
	ErrDigest = errors.New("content does not match its digest")
	// ErrLimit reports an answer or a file that is larger than anything honest is.
	ErrLimit = errors.New("limit exceeded")
	// ErrUnsupported reports what a transport, a server or this package cannot do.
	ErrUnsupported = errors.ErrUnsupported
)
