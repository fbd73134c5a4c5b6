package repository

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/go-composefs/composefs/fsverity"
)

// CheckOptions say how a repository is checked. The zero value reads everything.
type CheckOptions struct {
	// NoData leaves the content of objects unread: images, streams and links are looked at, and
	// that all objects are there in the right size.
	NoData bool
	// FromDisk drops what the kernel has in memory of objects before they are read, so that
	// the disk itself is read.
	FromDisk bool
	// Limit is how many bytes of objects are read in a second; 0 means no limit.
	Limit int64
	// RequireVerity looks at a repository as if it required fs-verity: one does not that was copied
	// without fs-verity, also that of meta.json, which says it.
	RequireVerity bool
	// Resume goes on reading objects where an earlier check was interrupted.
	Resume bool
	// Jobs is how many images or objects are read at once; 0 means GOMAXPROCS.
	Jobs int
	// Progress, if not nil, is told of objects and bytes that were read, by many goroutines.
	Progress interface{ Add(files int, bytes int64) }
}

func (o *CheckOptions) jobs() int {
	if o.Jobs > 0 {
		return o.Jobs
	}
	return runtime.GOMAXPROCS(0)
}

// Checked is what a check has found.
type Checked struct {
	Problems []Problem // by path
	Images   int
	Streams  int
	Objects  int   // that are there
	Read     int   // objects whose content was read, also by the check that was resumed
	Bytes    int64 // of those
	Resumed  bool  // an earlier check was gone on with
}

// OK says whether there is nothing left that is wrong.
func (c *Checked) OK() bool {
	return !slices.ContainsFunc(c.Problems, func(p Problem) bool { return !p.Note && !p.Solved() })
}

// Check looks at everything in the repository: meta.json, links, images, streams, leases, and the
// content of all objects. Others may go on using it meanwhile. Errors are about what keeps it from
// looking; what is wrong is in the result. If the context ends, what was read is remembered for
// [CheckOptions].Resume, where the repository can be written to.
func (r *Repository) Check(ctx context.Context, opts CheckOptions) (Checked, error) {
	c := &checker{r: r, opts: opts, bad: map[fsverity.Digest]int{}, elsewhere: map[fsverity.Digest]struct{}{}}
	if opts.Limit > 0 {
		c.limit = rate.NewLimiter(rate.Limit(opts.Limit), int(min(opts.Limit, readSize)))
	}
	err := c.check(ctx)
	if err != nil {
		err = fmt.Errorf("check repository %s: %w", r.path, err)
	}
	slices.SortStableFunc(c.result.Problems, func(a, b Problem) int { return cmp.Compare(a.Path, b.Path) })
	return c.result, err
}

// checker is one check.
type checker struct {
	r     *Repository
	opts  CheckOptions
	limit *rate.Limiter // nil: none

	set *objectSet
	// Of the objects in set, in bytes plus one; 0 if it is not known.
	sizes  []atomic.Int64 // that were read
	wanted []atomic.Int64 // as images have it

	mu        sync.Mutex
	result    Checked
	bad       map[fsverity.Digest]int      // objects with a problem, by its place in result
	elsewhere map[fsverity.Digest]struct{} // objects that only other stores have
	unequal   []unequalStream
}

func (c *checker) check(ctx context.Context) error {
	var err error
	if c.set, err = listObjects(c.r.objects, c.r.meta.Algorithm, c.foreign); err != nil {
		return err
	}
	c.result.Objects = c.set.count()
	c.sizes, c.wanted = make([]atomic.Int64, c.set.count()), make([]atomic.Int64, c.set.count())
	if err := c.checkFiles(); err != nil {
		return err
	}
	// Reading images keeps one processor busy, reading objects all of them.
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return errors.Join(c.checkLinks(gctx, c.r.images()), c.checkLinks(gctx, c.r.streams()))
	})
	if !c.opts.NoData {
		g.Go(func() error { return c.scrub(gctx) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := c.compareSizes(); err != nil {
		return err
	}
	c.tellUnequal()
	if !c.opts.NoData {
		if err := c.scrubElsewhere(ctx); err != nil {
			return err
		}
		if err := c.removeState(); err != nil {
			return err
		}
	}
	return c.nameNeeders(ctx)
}

// found notes a problem.
func (c *checker) found(p Problem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.result.Problems = append(c.result.Problems, p)
}

// foundObject notes a problem of an object, once for each object.
func (c *checker) foundObject(kind ProblemKind, digest fsverity.Digest, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.bad[digest]; known {
		return
	}
	c.bad[digest] = len(c.result.Problems)
	c.result.Problems = append(c.result.Problems, Problem{
		Kind: kind, Path: objectsDir + "/" + digest.ObjectPath(), Object: digest, Detail: fmt.Sprintf(format, args...),
	})
}

// need looks whether an object is there, in a size unless that is negative.
func (c *checker) need(digest fsverity.Digest, size int64) error {
	if i := c.set.find(digest); i >= 0 {
		if size >= 0 && !c.wanted[i].CompareAndSwap(0, size+1) && c.wanted[i].Load() != size+1 {
			c.foundObject(ProblemObject, digest, "images do not agree whether it has %d or %d bytes", size, c.wanted[i].Load()-1)
		}
		return nil
	}
	// It came after the names were read, or is in another store.
	got, err := c.r.objects.Size(digest)
	if err == nil && size >= 0 && got != size {
		c.foundObject(ProblemObject, digest, "it has %d bytes and should have %d", got, size)
	}
	if !gone(err) {
		return err
	}
	ok, err := c.r.storedElsewhere(digest, size)
	switch {
	case err != nil:
		return err
	case !ok:
		c.foundObject(ProblemMissing, digest, "it is missing")
		c.mu.Lock()
		defer c.mu.Unlock()
		c.result.Problems[c.bad[digest]].size = size
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.elsewhere[digest] = struct{}{}
	return nil
}

// compareSizes compares the sizes that images want with those that objects have.
func (c *checker) compareSizes() error {
	for i := range c.wanted {
		want, got := c.wanted[i].Load()-1, c.sizes[i].Load()-1
		if want < 0 || want == got {
			continue
		}
		digest := c.set.digest(i)
		if got < 0 { // its content was not read
			var err error
			if got, err = c.r.objects.Size(digest); gone(err) {
				continue // collected meanwhile, with the image that needed it
			} else if err != nil {
				return err
			}
		}
		if want != got {
			c.foundObject(ProblemObject, digest, "it has %d bytes and should have %d", got, want)
		}
	}
	for digest, i := range c.bad {
		if at := c.set.find(digest); at >= 0 {
			c.result.Problems[i].size = c.wanted[at].Load() - 1
		}
	}
	return nil
}

// oneLine makes an error fit for a detail.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
