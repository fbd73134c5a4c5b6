package repository

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/go-composefs/composefs/fsverity"
)

// CollectOptions say how garbage is collected. The zero value removes what is not needed, and gives
// up at once if a program of composefs-rs has the repository open.
type CollectOptions struct {
	DryRun bool     // remove nothing
	Roots  []string // images to keep besides those with names, as ResolveImage knows them
	// Keep are further objects to keep, and images and streams with what they need.
	Keep []fsverity.Digest
	// Wait is how long to wait for programs of composefs-rs to close the repository, and before that for
	// another collection to end.
	Wait time.Duration
	// Removed, if not nil, is told of each thing before it is removed, or would be in a dry run:
	// by one goroutine at a time, objects in no order.
	Removed func(Garbage)
	// Jobs is how many images are read, and objects removed, at once; 0 means GOMAXPROCS, but
	// not more than 4.
	Jobs int
}

// GarbageKind is what kind of thing is removed.
type GarbageKind string

// The kinds.
const (
	GarbageImage     GarbageKind = "image"     // an entry of images
	GarbageStream    GarbageKind = "stream"    // an entry of streams
	GarbageObject    GarbageKind = "object"    // an object, also that of an image or stream
	GarbageLease     GarbageKind = "lease"     // a lease that nobody holds and that has expired
	GarbageTemporary GarbageKind = "temporary" // what a killed process has left
)

// Garbage is a thing that is not needed.
type Garbage struct {
	Kind GarbageKind `json:"kind"`
	Name string      `json:"name"` // digest, stream id, lease id or path in the repository
	Size int64       `json:"size"` // bytes, of objects
}

// Collected sums up what a collection has removed, or would have in a dry run.
type Collected struct {
	Objects     int   `json:"objects"`
	Bytes       int64 `json:"bytes"` // of the objects
	Images      int   `json:"images"`
	Streams     int   `json:"streams"`
	Leases      int   `json:"leases"`
	Temporaries int   `json:"temporaries"`
	// Kept is how many objects are needed.
	Kept int `json:"kept"`
	// InUse are images without a name that are kept because somebody has them open: they are
	// mounted, say.
	InUse []fsverity.Digest `json:"in_use,omitempty"`
}

// Collect removes what no ref, no lease, no open image and no option keeps. Everybody else goes on
// meanwhile, also with things that were not needed when it began. Only programs of composefs-rs must
// not have the repository open: [ErrInUse] reports one, or another collection. If an image or stream
// that is needed cannot be read, or its bytes are wrong, nothing more is removed, for nobody knows what it
// needs: then the error names it.
func (r *Repository) Collect(ctx context.Context, opts CollectOptions) (Collected, error) {
	result, err := r.collect(ctx, opts)
	if err != nil {
		err = fmt.Errorf("collect garbage in %s: %w", r.path, err)
	}
	return result, err
}

func (r *Repository) collect(ctx context.Context, opts CollectOptions) (_ Collected, err error) {
	c, err := r.newCollector(ctx, opts)
	if err != nil {
		return Collected{}, err
	}
	defer c.Close()
	if c.set, err = listObjects(r.objects, r.meta.Algorithm, nil); err != nil {
		return Collected{}, err
	}
	c.marker = newMarker(c)
	defer c.marker.Close()
	if err := c.markAll(ctx); err != nil {
		return Collected{}, err
	}
	if !opts.DryRun {
		release, err := c.exclude(ctx)
		if err != nil {
			return Collected{}, err
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	// Before each removal all leases are looked at: so those go first that do not count. Then
	// what does not count any more later was held by somebody who was killed while this runs.
	if err := c.removeLeases(); err != nil {
		return Collected{}, err
	}
	if !opts.DryRun {
		c.marker.leases.dead = true
		// What programs of composefs-rs have added until now, and who was killed.
		if err := c.markAll(ctx); err != nil {
			return Collected{}, err
		}
	}
	err = c.sweep(ctx)
	c.result.InUse = c.marker.inUse
	return c.result, err
}

// collector is one collection.
type collector struct {
	r      *Repository
	opts   CollectOptions
	leases *leaseDir // with a lock description of its own
	dir    *os.File  // likewise
	set    *objectSet
	marker *marker
	// removed are the objects of entries that were removed, by their places in the set.
	removed map[int]struct{}

	mu     sync.Mutex
	result Collected
}

// newCollector returns the one collector of the repository. Close it after use.
func (r *Repository) newCollector(ctx context.Context, opts CollectOptions) (*collector, error) {
	if err := r.writable(); err != nil {
		return nil, err
	}
	leases, err := r.newLeaseDir()
	if err != nil {
		return nil, err
	}
	dir, err := r.root.Open(".")
	if err != nil {
		return nil, errors.Join(err, leases.Close())
	}
	c := &collector{r: r, opts: opts, leases: leases, dir: dir, removed: map[int]struct{}{}}
	if err := c.lock(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Close lets others collect.
func (c *collector) Close() error { return errors.Join(c.leases.Close(), c.dir.Close()) }

// jobs is how much is done at once.
func (c *collector) jobs() int {
	if c.opts.Jobs > 0 {
		return c.opts.Jobs
	}
	return min(4, runtime.GOMAXPROCS(0))
}

// remove tells of a thing and, unless it is a dry run, removes it.
func (c *collector) remove(g Garbage, remove func() error) error {
	c.count(g)
	if !c.opts.DryRun {
		if err := c.r.step("unlink " + string(g.Kind) + " " + g.Name); err != nil {
			return err
		}
		if err := remove(); err != nil && !gone(err) {
			return fmt.Errorf("remove %s %s: %w", g.Kind, g.Name, err)
		}
	}
	return nil
}

// count counts a thing, and tells of it.
func (c *collector) count(g Garbage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opts.Removed != nil {
		c.opts.Removed(g)
	}
	switch g.Kind {
	case GarbageImage:
		c.result.Images++
	case GarbageStream:
		c.result.Streams++
	case GarbageObject:
		c.result.Objects++
		c.result.Bytes += g.Size
	case GarbageLease:
		c.result.Leases++
	case GarbageTemporary:
		c.result.Temporaries++
	}
}
