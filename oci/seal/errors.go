package seal

import "errors"

// Errors about a carrier: what a manifest or an artifact says cannot be a seal.
var (
	// ErrMalformed reports JSON, an annotation or a signature that is not what it should be.
	ErrMalformed = errors.New("malformed")
	// ErrTooLarge reports something larger than a seal has use for.
	ErrTooLarge = errors.New("too large")
	// ErrMixed reports an artifact with digests of more than one algorithm, or a digest that is
	// not of the algorithm it is said to be of.
	ErrMixed = errors.New("mixed algorithms")
	// ErrOrder reports an artifact whose layers are not in the order of the specification.
	ErrOrder = errors.New("wrong order")
	// ErrDuplicate reports a name or a part that is there twice.
	ErrDuplicate = errors.New("duplicate")
	// ErrIncomplete reports a seal without a part that it must have.
	ErrIncomplete = errors.New("incomplete seal")
	// ErrSubject reports an artifact that is about another image.
	ErrSubject = errors.New("artifact is about another image")
	// ErrNotSeal reports a manifest that is no composefs artifact, or no image manifest of OCI.
	ErrNotSeal = errors.New("no such manifest")
)

// Errors about a key.
var (
	// ErrKey reports a key or certificate that cannot sign here.
	ErrKey = errors.New("unusable key")
	// ErrPassphrase reports an encrypted key and a passphrase that is missing or wrong.
	ErrPassphrase = errors.New("passphrase is missing or wrong")
)

// Errors of verification: why an image is not what was sealed and signed.
var (
	// ErrMissing reports a digest or signature that is required and not there.
	ErrMissing = errors.New("missing")
	// ErrWrongDigest reports a part that is not the sealed one, or a signature that is not of it.
	ErrWrongDigest = errors.New("wrong digest")
	// ErrExpired reports a signer whose certificate is no longer, or not yet, valid.
	ErrExpired = errors.New("certificate is not valid now")
	// ErrUntrusted reports a signer who is not, or not for this, among the trusted ones.
	ErrUntrusted = errors.New("signer is not trusted")
)
