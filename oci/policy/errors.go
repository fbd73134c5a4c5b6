package policy

import "errors"

var (
	// ErrRefused reports an image that a policy does not admit. It comes with the reason, among them the
	// errors of package seal. Commands end with exit code 3.
	ErrRefused = errors.New("refused by policy")
	// ErrSyntax reports a policy's file that has a fault.
	ErrSyntax = errors.New("bad policy")
)
