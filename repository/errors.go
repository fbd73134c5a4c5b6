package repository

import (
	"errors"
	"io/fs"
)

// Errors that callers branch on.
var (
	// ErrNotFound reports an image, stream, ref, object or lease that is not there.
	ErrNotFound = fs.ErrNotExist
	// ErrNotRepository reports a directory that is no repository.
	ErrNotRepository = errors.New("not a composefs repository")
	// ErrLegacy reports a repository older than meta.json, which is only read until it is
	// upgraded.
	ErrLegacy = errors.New("repository has no meta.json")
	// ErrIncompatible reports a repository of a later version, or with features unknown here.
	ErrIncompatible = errors.New("incompatible repository")
	// ErrReadOnly reports an attempt to change a repository that can only be read: it was
	// opened so, or is on a read-only filesystem, or has features that only readers may
	// ignore.
	ErrReadOnly = errors.New("repository is read-only")
	// ErrInsecure reports a repository without fs-verity where one with it is required.
	ErrInsecure = errors.New("repository does not require fs-verity")
	// ErrName reports something that cannot be a name.
	ErrName = errors.New("bad name")
	// ErrAmbiguous reports the beginning of a digest that several objects have.
	ErrAmbiguous = errors.New("more than one object has a digest that begins so")
	// ErrCorrupt reports a repository that holds what it should not, or lacks what it should
	// hold.
	ErrCorrupt = errors.New("corrupt repository")
	// ErrInUse reports a repository that others keep from being changed now.
	ErrInUse = errors.New("repository is in use")
	// ErrElsewhere reports an object that only another store has, where it cannot be changed.
	ErrElsewhere = errors.New("object is in another store")
	// ErrCollected reports a transaction that lost objects to another program's garbage
	// collector. It can be begun again.
	ErrCollected = errors.New("objects were collected during the transaction")
)
