package repository

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/go-composefs/composefs/fsverity"
)

// sliceTime is how long a gate is shut at a time, about: so long a transaction that claims an object
// of that directory waits.
const sliceTime = 5 * time.Millisecond

// sweep removes what is not marked: first the entries of streams and of images, so that nobody comes
// to one of which only a part is left, then objects. Streams refer to streams and images.
func (c *collector) sweep(ctx context.Context) error {
	streams, err := c.r.streams().entries()
	if err != nil {
		return err
	}
	if err := c.sweepEntries(ctx, c.r.streams(), GarbageStream, c.referrersFirst(streams)); err != nil {
		return err
	}
	images, err := c.r.images().entries()
	if err != nil {
		return err
	}
	if err := c.sweepEntries(ctx, c.r.images(), GarbageImage, images); err != nil {
		return err
	}
	// Removing a file is waiting for the disk, mostly.
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.jobs())
	for b := range 256 {
		g.Go(func() error { return c.sweepDirectory(gctx, b) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := range c.set.count() {
		if c.set.marked(i) {
			c.result.Kept++
		}
	}
	return c.removeTemporaries()
}

// sweepEntries removes the entries whose objects are not needed, with the objects, and those that
// have none.
func (c *collector) sweepEntries(ctx context.Context, l links, kind GarbageKind, entries []link) error {
	for _, e := range entries {
		if e.err != nil {
			return e.err
		}
		if err := c.behindGate(ctx, e.digest, func() error { return c.sweepEntry(l, kind, e) }); err != nil {
			return err
		}
	}
	return nil
}

// sweepEntry removes an entry unless it is needed, behind the gate of its object.
func (c *collector) sweepEntry(l links, kind GarbageKind, e link) error {
	i := c.set.find(e.digest)
	if i < 0 {
		// It came after the objects were listed, or it is not there at all.
		ok, err := c.r.Has(e.digest)
		if err == nil && ok {
			c.marker.need(e.digest, "an entry whose object came", false)
		}
		if err != nil || ok {
			return err
		}
	} else if c.marker.follows(e.digest) || c.set.marked(i) && !c.marker.knows(e.digest) {
		return nil
	} else if kind == GarbageImage {
		// Nobody who opens it from now on finds it complete: so this is the last look.
		inUse, err := c.r.inUse(e.digest)
		if err != nil {
			return err
		}
		if inUse {
			c.marker.inUse = append(c.marker.inUse, e.digest)
			c.marker.need(e.digest, "an image in use", true)
			return nil
		}
	}
	if err := c.removeEntry(l, kind, e); err != nil || i < 0 || c.set.marked(i) {
		return err
	}
	defer func() { c.removed[i] = struct{}{} }()
	return c.removeObject(i)
}

// removeEntry removes an entry that still says what it did.
func (c *collector) removeEntry(l links, kind GarbageKind, e link) error {
	if err := lockByte(c.leases.lock, linksByte, exclusive); err != nil {
		return err
	}
	digest, err := l.entry(e.name)
	if err == nil && digest == e.digest {
		c.marker.forget(e.digest)
		err = c.remove(Garbage{Kind: kind, Name: e.name}, func() error { return c.r.root.Remove(l.dir + "/" + e.name) })
	} else if gone(err) {
		err = nil
	}
	return errors.Join(err, unlockByte(c.leases.lock, linksByte))
}

// behindGate does something with the gate of a digest shut, when everything is marked that anybody
// needs until then.
func (c *collector) behindGate(ctx context.Context, digest fsverity.Digest, do func() error) error {
	if c.opts.DryRun {
		return do()
	}
	at := gateOf(digest)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := lockByte(c.leases.lock, at, exclusive); err != nil {
			return err
		}
		complete, err := c.marker.complete()
		if err == nil && complete {
			err = do()
		}
		if err = errors.Join(err, unlockByte(c.leases.lock, at)); err != nil || complete {
			return err
		}
		// What is new is read with the gate open, for it may take a while.
		if err := c.marker.catchUp(ctx); err != nil {
			return err
		}
	}
}

// sweepDirectory removes the objects of a directory, some at a time.
func (c *collector) sweepDirectory(ctx context.Context, b int) error {
	i, end := c.set.start[b], c.set.start[b+1]
	for {
		for i < end && c.set.marked(i) {
			i++
		}
		if i == end {
			return nil
		}
		err := c.behindGate(ctx, c.set.digest(i), func() error {
			for deadline := time.Now().Add(sliceTime); i < end; i++ {
				if c.set.marked(i) {
					continue
				}
				if err := c.removeObject(i); err != nil {
					return err
				}
				if time.Now().After(deadline) {
					i++
					break
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// removeObject removes the i-th object of the set.
func (c *collector) removeObject(i int) error {
	if _, done := c.removed[i]; done {
		return nil
	}
	digest := c.set.digest(i)
	size, err := c.r.objects.Size(digest)
	if gone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove object %s: %w", digest, err)
	}
	g := Garbage{Kind: GarbageObject, Name: digest.String(), Size: size}
	return c.remove(g, func() error { return c.r.objects.Remove(digest) })
}
