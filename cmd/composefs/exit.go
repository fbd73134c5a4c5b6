package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/mount"
	"github.com/go-composefs/composefs/objects"
	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/oci/policy"
	"github.com/go-composefs/composefs/oci/seal"
	"github.com/go-composefs/composefs/oci/transport"
	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/splitstream"
	"github.com/go-composefs/composefs/tree"
)

// Exit codes of composefs. The personalities know 0 and 1 only, as the C tools do.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // the command line makes no sense
	exitBad    = 3 // a verification failed, or corruption was found
)

// usageError marks an error in the command line.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errDifferent is what diff ends with. The differences it has printed say enough.
var errDifferent = errors.New("the trees differ")

// codedError is an error whose command documents another exit code than others have.
type codedError struct {
	error
	code int
}

func (e codedError) Unwrap() error { return e.error }

// verificationErrors are the sentinels that mean "the data is not what it should be".
var verificationErrors = []error{
	erofs.ErrCorrupt,
	oci.ErrCorrupt,
	policy.ErrRefused,
	seal.ErrWrongDigest,
	seal.ErrUntrusted,
	seal.ErrExpired,
	seal.ErrMalformed,
	transport.ErrDigest,
	erofs.ErrObject,
	fsverity.ErrDigestMismatch,
	mount.ErrWrongVerity,
	objects.ErrCorrupt,
	repository.ErrCorrupt,
	splitstream.ErrCorrupt,
	tree.ErrDigestMismatch,
	errBadImage,
	errProblems,
}

// corrupt says that a repository is, which the reason may say itself.
func corrupt(reason string) error {
	return fmt.Errorf("%w: %s", repository.ErrCorrupt, strings.TrimPrefix(reason, repository.ErrCorrupt.Error()+": "))
}

// errBadImage is what check ends with when it has found problems.
var errBadImage = errors.New("the image has problems")

// errNotStored reports an object that no store has.
var errNotStored = errors.New("not in the store")

// errNoDirectory reports a source that is no directory and was not said to be a dump.
var errNoDirectory = errors.New("is not a directory")

// errStoreNeeded reports a file that is not in the image itself.
var errStoreNeeded = errors.New("its content is in a store, and none was given")

// advisedError is an error of a command that knows what the user can do about it.
type advisedError struct {
	error
	advice string
}

func (e advisedError) Unwrap() error { return e.error }

// exitCode maps the error a command ended with to the program's exit code.
func exitCode(err error) int {
	switch coded := (codedError{}); {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, new(usageError)):
		return exitUsage
	}
	for _, bad := range verificationErrors {
		if errors.Is(err, bad) {
			return exitBad
		}
	}
	return exitFailed
}

// hint returns what the user can do about an error, or nothing.
func hint(err error) string {
	var digest *mount.DigestError
	var advised advisedError
	switch {
	case errors.As(err, &advised):
		return advised.advice
	case errors.Is(err, context.Canceled):
		return ""
	case errors.Is(err, errNoRepository), errors.Is(err, repository.ErrNotRepository):
		return "`composefs init` makes a repository; --repo or $" + repoVariable + " says where it is"
	case errors.Is(err, repository.ErrLegacy):
		return "`composefs init --upgrade` gives it one; older programs can then not use it any more"
	case errors.Is(err, repository.ErrInsecure):
		return "`composefs init` without --insecure makes one that requires it"
	case errors.Is(err, repository.ErrCollected):
		return "run the command again"
	case errors.Is(err, oci.ErrNoBase):
		return "pull the image that the delta is for first, or the new one itself"
	case errors.Is(err, repository.ErrCorrupt):
		return "`composefs fsck` tells all that is wrong with a repository, and mends it from good copies"
	case errors.Is(err, errNoContainer):
		return "`composefs images` lists the images of a repository"
	case errors.Is(err, transport.ErrUnauthorized):
		return "`podman login` or `docker login` stores credentials"
	case errors.Is(err, http.ErrSchemeMismatch):
		return "--plain-http speaks without TLS, to servers that are to be trusted with it"
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return "--cert-dir takes a directory with the certificate of an authority, as containers-certs.d(5) describes it"
	case errors.Is(err, policy.ErrRefused):
		return "docs/seal.md describes policies; `composefs verify` tells more of an image that is here"
	case errors.Is(err, errNoImage):
		return "`composefs images` lists the images of a repository"
	case errors.Is(err, errNoDirectory):
		return "if it is a dump, say --from-file"
	case errors.Is(err, errStoreNeeded):
		return "give the store's directory with --store"
	case errors.As(err, &digest) && errors.Is(err, mount.ErrNoVerity):
		return "with --allow-computed the digest is computed instead, which proves it for the moment of mounting only"
	case errors.Is(err, mount.ErrNoVerity), errors.Is(err, fsverity.ErrNoVerity):
		return "`composefs doctor DIR` tells what this kernel and filesystem can verify; --verity=try does without where they cannot"
	case errors.Is(err, mount.ErrNotComposefs):
		return "`composefs check IMAGE` says what the file is"
	case errors.Is(err, mount.ErrNotMounted):
		return "`composefs mounts` lists what can be unmounted"
	case errors.Is(err, syscall.EBUSY):
		return "end what uses the mount (`fuser -vm DIR` lists it), or take it out of sight with --lazy"
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		return "this may need root"
	}
	return ""
}
