package layer

import (
	"context"
	"crypto"
	_ "crypto/sha256" // a hash of Options
	_ "crypto/sha512" // the others
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"

	"github.com/go-composefs/composefs/objects"
	"github.com/go-composefs/composefs/splitstream"
	"github.com/go-composefs/composefs/tree"
)

// Errors that callers branch on.
var (
	// ErrFormat reports input that is no tar, or a broken one.
	ErrFormat = errors.New("not a tar, or a broken one")
	// ErrEntry reports an entry that cannot be in a tree.
	ErrEntry = errors.New("bad entry of a tar")
	// ErrLimit reports a tar that goes beyond [Options].
	ErrLimit = errors.New("tar beyond the limits")
)

// External is the size in bytes that a regular file must exceed to become an object.
const External = 64

// Store takes the content of files. [objects.Dir] is one. Its methods are called by several goroutines
// at once.
type Store interface {
	PutBytes(ctx context.Context, data []byte) (objects.Stored, error)
	PutReader(ctx context.Context, r io.Reader) (objects.Stored, error)
}

// Options say how a tar is read.
type Options struct {
	Store Store // required
	// Stream gets all of the tar, if it is not nil, and is not finished.
	Stream *splitstream.Writer
	// NoTree makes no tree. Entries are held to what every tar has to keep, and may be what no single
	// tree has, such as a hard link to what another layer brings; see [Entries]. Memory does not grow with
	// their number. Sparse files are not stored, for nothing would name the objects. A tar of no bytes has no
	// entries, as builders make it for steps that change nothing.
	NoTree bool
	// Plain says that r is the tar itself, whatever it begins with.
	Plain bool
	Hash  crypto.Hash // of Layer.DiffID: SHA256, which 0 means, SHA384 or SHA512

	MaxSize    int64 // bytes of the tar without compression; 0 means no limit
	MaxEntries int   // with directories that have none of their own; 0 means 16 million
	MaxSparse  int64 // bytes of all sparse files with their holes, which are stored; 0 means 16 GiB

	Progress tree.Progress // nil: nobody is told
	Jobs     int           // files stored at once; 0 means GOMAXPROCS
}

const (
	defaultMaxEntries = 16_000_000
	defaultMaxSparse  = 16 << 30
	// maxHeaders is how many bytes the headers of one entry may have. They stay together in a stream,
	// and so in memory. Four extended ones of a MiB, which archive/tar allows each, are more than any
	// entry needs.
	maxHeaders = 8 << 20
)

func (o *Options) defaults() error {
	if o.MaxSize == 0 {
		o.MaxSize = math.MaxInt64
	}
	if o.MaxEntries == 0 {
		o.MaxEntries = defaultMaxEntries
	}
	if o.MaxSparse == 0 {
		o.MaxSparse = defaultMaxSparse
	}
	if o.Jobs == 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	switch o.Hash {
	case 0:
		o.Hash = crypto.SHA256
	case crypto.SHA256, crypto.SHA384, crypto.SHA512:
	default:
		return fmt.Errorf("read tar: its hash cannot be %v", o.Hash)
	}
	return nil
}

func tooSparse(size int64) error {
	return fmt.Errorf("%w: a sparse file of %d bytes, and others before it", ErrLimit, size)
}
