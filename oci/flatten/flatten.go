package flatten

import (
	"context"
	"fmt"
	"iter"

	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/tree"
)

// Options are limits. The zero value has sensible ones.
type Options struct {
	MaxEntries int   // of all layers, with implied directories; 0 means 4 million
	MaxBytes   int64 // of names, targets, attributes and inline contents, all together; 0 means 1 GiB
}

const (
	defaultMaxEntries = 4_000_000
	defaultMaxBytes   = 1 << 30
	// maxDepth is how many directories may be in each other: more than a path of 4096 bytes can name, and
	// what composefs-rs reads of an image.
	maxDepth = 2048
)

// Flattener puts layers on top of each other. It is not safe for concurrent use.
type Flattener struct {
	root    *node
	layer   int32 // that is being added; the first one is 1
	entries int   // that may still come
	bytes   int64 // that may still come

	names []string // of the entry at hand
	// parent is the directory that the entry before was put into, by its name in that entry: most
	// entries have the same. It is nil after anything was replaced, which could be on the way to it.
	parent     *node
	parentPath string
	shared     map[string]string // short strings that many inodes have
	// single says that the tree is that of one layer, as overlayfs has them.
	single bool
}

// New returns a Flattener without layers.
func New(opts Options) *Flattener {
	if opts.MaxEntries == 0 {
		opts.MaxEntries = defaultMaxEntries
	}
	if opts.MaxBytes == 0 {
		opts.MaxBytes = defaultMaxBytes
	}
	return &Flattener{root: newImplied(0), entries: opts.MaxEntries, bytes: opts.MaxBytes, shared: map[string]string{}}
}

// AddLayer puts a layer on top of those before, whose entries [layer.Entries] returns; name is for errors.
// Those wrap [layer.ErrEntry] and [layer.ErrLimit], or are those of entries, and end the Flattener's life.
func (f *Flattener) AddLayer(ctx context.Context, name string, entries iter.Seq2[*layer.Entry, error]) error {
	f.layer++
	f.parent = nil
	for e, err := range entries {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("layer %s: %w", name, err)
		}
		if err := f.add(e); err != nil {
			return fmt.Errorf("layer %s: entry %q at byte %d: %w", name, e.Header.Name, e.Offset, err)
		}
	}
	return nil
}

// Root returns the tree. Its root has the metadata of the last entry for it, or is an implied directory.
// Links are counted; those of directories are 1, as a scan has them. It ends the Flattener's life.
func (f *Flattener) Root() *tree.Inode {
	return f.root.finish()
}

// Layer returns the tree of a single layer, as a lower directory of overlayfs has it: a whiteout is a
// character device 0:0, and a directory that hides what is below it has the attribute trusted.overlay.opaque.
// Hard links to other layers, and symlinks of other layers on the way to an entry, are not known here: the
// first are errors, the others implied directories. Limits and errors are those of [Flattener.AddLayer].
func Layer(ctx context.Context, opts Options, entries iter.Seq2[*layer.Entry, error]) (*tree.Inode, error) {
	f := New(opts)
	f.single = true
	f.layer++
	for e, err := range entries {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		if err := f.add(e); err != nil {
			return nil, fmt.Errorf("entry %q at byte %d: %w", e.Header.Name, e.Offset, err)
		}
	}
	return f.Root(), nil
}
