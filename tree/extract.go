package tree

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-composefs/composefs/fsverity"
)

// Errors of [Extract] that callers branch on, besides those of system calls.
var (
	// ErrDigestMismatch reports an object whose bytes are not those that the tree names.
	ErrDigestMismatch = errors.New("content is not what its digest says")
	// ErrNotEmpty reports a directory to extract to that has something in it.
	ErrNotEmpty = errors.New("directory is not empty")
	// ErrTree reports a tree that is no tree: a directory of two names, an entry without inode.
	ErrTree = errors.New("malformed tree")
)

// Opener finds the contents of external files.
type Opener interface {
	// OpenObject opens the content of n. It is called by several goroutines at once; the
	// caller closes the result. If that is an *os.File at its start, data may be shared with
	// it and need not be copied.
	OpenObject(n *Inode) (io.ReadCloser, error)
}

// ExtractOptions say how a tree is written to a directory. The zero value writes everything
// that the tree tells, which takes root, and verifies what it writes.
type ExtractOptions struct {
	// NoOwner leaves all files to the caller. Set-id bits are left out, for they would give
	// away the caller's rights, not those of the owner that the tree names.
	NoOwner bool

	SkipXattrs  bool // no attributes
	UserXattrs  bool // only attributes whose names begin with "user."; not with SkipXattrs
	SkipDevices bool // no block and character devices, which includes whiteouts

	// NoVerify leaves out the comparison of contents with their digests. Sizes are still
	// compared.
	NoVerify bool

	// Algorithm of the digests. The zero value means the hash that each digest tells by its
	// length, with 4 KiB blocks.
	Algorithm fsverity.Algorithm

	Progress Progress // nil: nobody is told
	Jobs     int      // files at once; 0 means GOMAXPROCS
}

func (o *ExtractOptions) defaults() error {
	if o.SkipXattrs && o.UserXattrs {
		return fmt.Errorf("%w: user attributes are wanted, and none", ErrOptions)
	}
	if o.Algorithm != (fsverity.Algorithm{}) && !o.Algorithm.Valid() {
		return fmt.Errorf("%w: %v", fsverity.ErrAlgorithm, o.Algorithm)
	}
	o.Jobs = jobs(o.Jobs)
	return nil
}

// algorithm returns that of a digest.
func (o *ExtractOptions) algorithm(d fsverity.Digest) fsverity.Algorithm {
	if o.Algorithm != (fsverity.Algorithm{}) {
		return o.Algorithm
	}
	return fsverity.Algorithm{Hash: d.Hash(), BlockBits: fsverity.SHA256.BlockBits}
}

// checkTree returns an error unless root is a tree: finite, with names that are one component
// each.
func checkTree(root *Inode) error {
	if !root.IsDir() {
		return fmt.Errorf("%w: its root is not a directory", ErrTree)
	}
	met := map[*Inode]bool{root: true}
	dirs := []*Inode{root}
	for len(dirs) > 0 {
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		for i, e := range dir.Children {
			if err := CheckName(e.Name); err != nil {
				return err
			}
			switch {
			case i > 0 && dir.Children[i-1].Name >= e.Name:
				return fmt.Errorf("%w: entry %q is not in order", ErrTree, e.Name)
			case e.Inode == nil:
				return fmt.Errorf("%w: entry %q has no inode", ErrTree, e.Name)
			case !e.Inode.IsDir():
				continue
			case met[e.Inode]:
				return fmt.Errorf("%w: directory %q has two names", ErrTree, e.Name)
			}
			met[e.Inode] = true
			dirs = append(dirs, e.Inode)
		}
	}
	return nil
}
