package repository

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/splitstream"
)

// maxImageProblems bounds how many problems of one image are told.
const maxImageProblems = 20

// checkLinks looks at the links of one kind, and at what they lead to.
func (c *checker) checkLinks(ctx context.Context, l links) error {
	// Refs first: one whose entry is missing then had it, or was made later.
	refs, err := l.refs()
	if err != nil {
		return err
	}
	entries, err := l.entries()
	if err != nil {
		return err
	}
	known := map[string]struct{}{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.opts.jobs())
	for _, e := range entries {
		known[e.name] = struct{}{}
		g.Go(func() error { return c.checkEntry(ctx, l, e) })
	}
	for _, ref := range refs {
		at := path.Join(l.dir, refsDir, ref.name)
		if ref.err != nil {
			c.found(Problem{Kind: ProblemLink, Path: at, Detail: oneLine(ref.err), malformed: true})
			continue
		}
		if _, ok := known[ref.target]; ok {
			continue
		}
		p := Problem{Kind: ProblemLink, Path: at, Detail: fmt.Sprintf("it leads to %s/%s, which is missing", l.dir, ref.target)}
		if l.dir == "images" {
			p.Object, _ = fsverity.ParseDigest(ref.target) // that is how its entry can be made again
		}
		c.found(p)
	}
	return g.Wait()
}

func (c *checker) checkEntry(ctx context.Context, l links, e link) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	at := l.dir + "/" + e.name
	if e.err != nil {
		digest, _ := fsverity.ParseDigest(e.name) // that is how an image's entry can be made again
		c.found(Problem{Kind: ProblemLink, Path: at, Object: digest, Detail: oneLine(e.err), malformed: true})
		return nil //nolint:nilerr // it is told
	}
	if l.dir == "streams" {
		return c.checkStream(at, e)
	}
	if e.name != e.digest.String() {
		digest, _ := fsverity.ParseDigest(e.name)
		c.found(Problem{Kind: ProblemLink, Path: at, Object: digest, Detail: "it leads to the object " + e.digest.String()})
		return nil
	}
	return c.checkImage(at, e.digest)
}

// checkImage looks at an image, and whether its objects are there. Unless data is not read its own bytes
// are compared with its digest as those of all objects are.
func (c *checker) checkImage(at string, digest fsverity.Digest) error {
	img, err := c.r.openUnverified(digest)
	switch {
	case gone(err):
		return c.missingEntry(at, digest)
	case err != nil:
		c.found(Problem{Kind: ProblemImage, Path: at, Object: digest, Detail: oneLine(err)})
		return nil
	}
	defer img.Close()
	c.count(&c.result.Images)
	told := 0
	for p := range img.Check(erofs.CheckOptions{Algorithm: c.r.meta.Algorithm}) {
		if p.Note {
			continue
		}
		if told++; told > maxImageProblems {
			break
		}
		c.found(Problem{Kind: ProblemImage, Path: at, Object: digest, Detail: p.String()})
	}
	for ref, err := range img.objectRefs() {
		if err != nil {
			if told == 0 {
				c.found(Problem{Kind: ProblemImage, Path: at, Object: digest, Detail: oneLine(err)})
			}
			return nil
		}
		if err := c.need(ref.Digest, ref.Size); err != nil {
			return err
		}
	}
	return nil
}

// missingEntry looks once more for an entry whose object is missing: it may have been collected.
func (c *checker) missingEntry(at string, digest fsverity.Digest) error {
	if _, err := c.r.root.Readlink(at); gone(err) {
		return nil
	}
	return c.need(digest, -1)
}

// openUnverified opens an image whether or not it has the fs-verity it should have.
func (r *Repository) openUnverified(digest fsverity.Digest) (*Image, error) {
	f, err := r.openRaw(digest)
	if err != nil {
		return nil, err
	}
	img, err := erofs.OpenFile(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Image{img, digest, f}, nil
}

// checkStream looks at a stream, and whether what it refers to is there.
func (c *checker) checkStream(at string, e link) error {
	f, err := c.r.openRaw(e.digest)
	if gone(err) {
		return c.missingEntry(at, e.digest)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	c.count(&c.result.Streams)
	info, err := f.Stat()
	if err != nil {
		return err
	}
	unsound := func(err error) {
		c.found(Problem{Kind: ProblemStream, Path: at, Object: e.digest, Detail: oneLine(err)})
	}
	s, err := splitstream.Open(f, info.Size(), splitstream.ReaderOptions{Algorithm: c.r.meta.Algorithm})
	if err != nil {
		unsound(err)
		return nil
	}
	for digest := range s.References() {
		if err := c.need(digest, -1); err != nil {
			return err
		}
	}
	if c.opts.NoData {
		return nil
	}
	total := uint64(0)
	for chunk, err := range s.Chunks() {
		if err != nil {
			unsound(err)
			return nil
		}
		total += uint64(len(chunk.Inline))
		if chunk.Object.IsZero() {
			continue
		}
		info, err := c.r.StatObject(chunk.Object)
		if gone(err) {
			return nil // that is told
		}
		if err != nil {
			return err
		}
		total += uint64(info.Size())
	}
	if total != s.Size() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.unequal = append(c.unequal, unequalStream{slices.Collect(s.References()), Problem{
			Kind: ProblemStream, Path: at, Object: e.digest,
			Detail: fmt.Sprintf("it has %d bytes and should have %d", total, s.Size()),
		}})
	}
	return nil
}

// unequalStream is a stream whose length is not what it says, perhaps because one of its objects is not
// whole.
type unequalStream struct {
	objects []fsverity.Digest
	problem Problem
}

// tellUnequal tells of the streams whose length is wrong though all their objects are good.
func (c *checker) tellUnequal() {
	for _, s := range c.unequal {
		if !slices.ContainsFunc(s.objects, func(digest fsverity.Digest) bool { _, bad := c.bad[digest]; return bad }) {
			c.found(s.problem)
		}
	}
}

func (c *checker) count(n *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n++
}
