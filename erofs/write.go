package erofs

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// Errors of the writer that callers branch on. They come wrapped with the file's path.
var (
	// ErrLimit reports a tree that the image format cannot hold, such as a file that is
	// too large.
	ErrLimit = errors.New("beyond a limit of the image format")
	// ErrTree reports a tree that is not one: children out of order, a directory in two
	// places, a link to a file that has no place of its own.
	ErrTree = errors.New("malformed tree")
)

// Format is a version of the composefs image format. Images of one tree in two formats have
// different digests.
type Format uint8

// The formats. V0 and V1 are those of the C tools and equal their images byte for byte, V2 is
// that of older composefs-rs releases.
const (
	// FormatAuto is V0, or V1 for a tree with whiteouts: what mkcomposefs writes by default.
	FormatAuto Format = iota
	FormatV0
	FormatV1
	FormatV2
)

// Version returns the number in the image's header. FormatAuto has none and returns 0.
func (f Format) Version() uint32 {
	if f == FormatAuto {
		return 0
	}
	return uint32(f - FormatV0)
}

// String returns "auto", "v0", "v1" or "v2".
func (f Format) String() string {
	if f == FormatAuto {
		return "auto"
	}
	return fmt.Sprintf("v%d", f.Version())
}

// MarshalText implements [encoding.TextMarshaler].
func (f Format) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]: the names of [Format.String], or the
// bare number.
func (f *Format) UnmarshalText(text []byte) error {
	switch string(text) {
	case "auto":
		*f = FormatAuto
	case "v0", "0":
		*f = FormatV0
	case "v1", "1":
		*f = FormatV1
	case "v2", "2":
		*f = FormatV2
	default:
		return fmt.Errorf("unknown image format %q: want auto, v0, v1 or v2", text)
	}
	return nil
}

// WriteOptions say what kind of image is written. The zero value is mkcomposefs's default.
type WriteOptions struct {
	Format Format
	// Algorithm is that of the image's own digest; the zero value means SHA-256. The
	// digests of files are written as they are in the tree.
	Algorithm fsverity.Algorithm
}

// WriteResult describes an image that was written.
type WriteResult struct {
	Digest fsverity.Digest // fs-verity digest of the image
	Size   int64           // bytes
	Inodes int             // including the stubs that hide the object directories
	Format Format          // never FormatAuto
}

// Write writes the image of a tree and returns its digest, which is computed on the way. The
// tree is not changed. The image goes to w from front to back, without seeking and without
// being held in memory; after an error what w got is useless.
//
// The bytes depend on nothing but the tree and the format. Errors wrap [ErrTree], [ErrLimit]
// or what w returned.
func Write(w io.Writer, root *tree.Inode, opts WriteOptions) (WriteResult, error) {
	if opts.Algorithm == (fsverity.Algorithm{}) {
		opts.Algorithm = fsverity.SHA256
	}
	p, err := newPlan(root, opts.Format)
	if err != nil {
		return WriteResult{}, err
	}
	if err := p.number(); err != nil {
		return WriteResult{}, err
	}
	if err := p.collectXattrs(); err != nil {
		return WriteResult{}, err
	}
	if err := p.place(); err != nil {
		return WriteResult{}, err
	}
	e, err := newEmitter(p, w, opts.Algorithm)
	if err != nil {
		return WriteResult{}, err
	}
	if err := e.image(); err != nil {
		return WriteResult{}, fmt.Errorf("write image: %w", err)
	}
	return WriteResult{
		Digest: e.digest(),
		Size:   e.offset(),
		Inodes: len(p.inodes),
		Format: p.format,
	}, nil
}
