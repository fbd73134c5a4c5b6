package repository

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

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

	set   *objectSet
	sizes []atomic.Int64 // of the objects in set, plus one; 0 if not known yet

	mu        sync.Mutex
	result    Checked
	bad       map[fsverity.Digest]int      // objects with a problem, by its place in result
	elsewhere map[fsverity.Digest]struct{} // objects that only other stores have
}

func (c *checker) check(ctx context.Context) error {
	var err error
	if c.set, err = listObjects(c.r.objects, c.r.meta.Algorithm); err != nil {
		return err
	}
	c.sizes = make([]atomic.Int64, c.set.count())
	c.result.Objects = c.set.count()
	if err := c.checkFiles(); err != nil {
		return err
	}
	for _, l := range []links{c.r.images(), c.r.streams()} {
		if err := c.checkLinks(ctx, l); err != nil {
			return err
		}
	}
	if !c.opts.NoData {
		if err := c.scrub(ctx); err != nil {
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
	got, err := c.size(digest)
	if gone(err) {
		ok, err := c.r.storedElsewhere(digest, size)
		if err != nil {
			return err
		}
		if !ok {
			c.foundObject(ProblemMissing, digest, "it is missing")
			return nil
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.elsewhere[digest] = struct{}{}
		return nil
	}
	if err == nil && size >= 0 && got != size {
		c.foundObject(ProblemObject, digest, "it has %d bytes and should have %d", got, size)
	}
	return err
}

// size returns the size of one of the repository's own objects.
func (c *checker) size(digest fsverity.Digest) (int64, error) {
	i := c.set.find(digest)
	if i < 0 {
		return c.r.objects.Size(digest)
	}
	if known := c.sizes[i].Load(); known > 0 {
		return known - 1, nil
	}
	size, err := c.r.objects.Size(digest)
	if err == nil {
		c.sizes[i].Store(size + 1)
	}
	return size, err
}

// oneLine makes an error fit for a detail.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
