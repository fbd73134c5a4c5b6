package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/go-composefs/composefs/fsverity"
)

// Errors of [Scan] and [Extract] that callers branch on.
var (
	// ErrChanged reports a file that changed, came or went while it was read.
	ErrChanged = errors.New("file changed while it was read")
	// ErrXattrs reports attributes beyond [MaxXattrCost] or [MaxXattrName].
	ErrXattrs = errors.New("too large extended attributes")
	// ErrOptions reports options that contradict each other.
	ErrOptions = errors.New("bad options")
)

// ScanOptions say what of a directory goes into the tree. The zero value is what mkcomposefs
// does: each name is a file of its own, of link count 1; all attributes are read; files of up
// to 64 bytes are inline.
type ScanOptions struct {
	SkipXattrs  bool // no attributes
	UserXattrs  bool // only attributes whose names begin with "user."; not with SkipXattrs
	SkipDevices bool // no block and character devices, which includes whiteouts

	UseEpoch   bool      // the time of every file is 0
	MtimeClamp *Timespec // later times are lowered to this one, so that builds repeat

	// InlineMax is up to how many bytes a file's content is held in the tree: at most
	// [MaxInline]; 0 means [DefaultInlineMax], below 0 none is.
	InlineMax int

	// Hardlinks makes names of the same file share an inode, whose own place is the name that
	// comes first depth first. Link counts are the numbers of names in the tree.
	Hardlinks bool

	// Exclude are patterns of files to leave out, directories with all they hold. A pattern
	// is matched against the path below the scanned directory, each component as by
	// [path.Match]; "**" as a component stands for any number of them. A pattern without a
	// slash, other than at its end, matches at any depth. One that ends in a slash matches
	// directories only. One that begins with "!" takes back what earlier ones exclude, but
	// nothing within an excluded directory. The last one that matches decides.
	Exclude []string

	// Skip are files to leave out whatever their names are: an image that is being written
	// into the scanned directory, a store within it.
	Skip []FileID

	// Algorithm of the digests; the zero value means SHA-256 with 4 KiB blocks. Not used with
	// a Sink.
	Algorithm fsverity.Algorithm

	Sink ObjectSink // nil: digests are computed and nothing is stored
	// SinkLinks says that Sink may give the files further names, which changes their ctime: it
	// does not count as a change of the file then.
	SinkLinks bool

	Cache    FileCache // nil: every file is read
	Progress Progress  // nil: nobody is told
	Jobs     int       // files at once; 0 means GOMAXPROCS
}

// FileState is what changes when a file does.
type FileState struct {
	ID           FileID
	Size         uint64 // bytes
	Mtime, Ctime Timespec
}

// FileCache remembers files, so that those that have not changed are not read again. Its methods are
// called by several goroutines at once, and only for external files.
type FileCache interface {
	// Lookup returns what Remember was told of a file of this state, if it was and, where there
	// is an ObjectSink, that has the object.
	Lookup(state FileState) (KnownFile, bool)
	// Remember is told of a file that was read.
	Remember(state FileState, file KnownFile)
}

// KnownFile is what need not be read again.
type KnownFile struct {
	Digest fsverity.Digest
	Bare   bool // the file has no extended attributes; if it is not set it may have some
}

// ObjectSink stores the contents of external files.
type ObjectSink interface {
	// Put stores the content of a regular file, which has size bytes, and returns its digest.
	// It is called by several goroutines at once. f is open for reading at its start and is
	// closed by the caller.
	Put(ctx context.Context, f *os.File, size int64) (fsverity.Digest, error)
}

// Progress is told what is done. Its method is called by several goroutines at once, for every
// file.
type Progress interface {
	Add(files int, bytes int64)
}

// FileID tells a file from all others of the machine.
type FileID struct {
	Dev, Ino uint64
}

// defaults checks the options and fills in what is zero.
func (o *ScanOptions) defaults() error {
	if o.SkipXattrs && o.UserXattrs {
		return fmt.Errorf("%w: user attributes are wanted, and none", ErrOptions)
	}
	switch {
	case o.InlineMax > MaxInline:
		return fmt.Errorf("%w: %d bytes inline, at most %d are possible", ErrOptions, o.InlineMax, MaxInline)
	case o.InlineMax == 0:
		o.InlineMax = DefaultInlineMax
	}
	if o.Algorithm == (fsverity.Algorithm{}) {
		o.Algorithm = fsverity.SHA256
	}
	if !o.Algorithm.Valid() {
		return fmt.Errorf("%w: %v", fsverity.ErrAlgorithm, o.Algorithm)
	}
	o.Jobs = jobs(o.Jobs)
	return nil
}

func jobs(n int) int {
	if n <= 0 {
		return runtime.GOMAXPROCS(0)
	}
	return n
}
