package repository

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
)

// marker finds out what is needed, from the roots on. What it has marked once stays so: it can be
// asked again and again, and looks only at what is new.
type marker struct {
	c      *collector
	leases leaseReader
	stamp  [stampSize]byte // of the links, when refs were read

	imageObjects  map[fsverity.Digest]struct{} // objects that are images, by the entries
	streamObjects map[fsverity.Digest]struct{}

	busy sync.Mutex // held by who marks what is new, during the sweep

	mu    sync.Mutex
	seen  map[fsverity.Digest]struct{} // images and streams that were marked, or will be
	queue []root
	inUse []fsverity.Digest
}

// root is an image or stream to be marked with all it needs.
type root struct {
	digest fsverity.Digest
	why    string // for errors
	// must is false for what only leases list: it may not be complete yet.
	must bool
}

func newMarker(c *collector) *marker {
	return &marker{
		c: c, leases: leaseReader{r: c.r, open: map[string]*openLease{}},
		seen: map[fsverity.Digest]struct{}{},
	}
}

func (m *marker) Close() error { return m.leases.Close() }

// markAll marks all that is needed now.
func (c *collector) markAll(ctx context.Context) error {
	m := c.marker
	if err := m.readEntries(); err != nil {
		return err
	}
	// Programs of composefs-rs do not stamp what they change.
	if err := errors.Join(m.findLeased(), m.findRefs()); err != nil {
		return err
	}
	for _, name := range c.opts.Roots {
		digest, err := c.r.ResolveImage(name)
		if err != nil {
			return err
		}
		m.need(digest, "the image "+name, true)
	}
	for _, digest := range c.opts.Keep {
		m.need(digest, "an object to keep", false)
	}
	if err := m.drain(ctx); err != nil {
		return err
	}
	if err := m.findInUse(); err != nil {
		return err
	}
	return m.drain(ctx)
}

// readEntries reads which objects are images and streams. What was not when it read them before is
// needed: a lease listed it when it was neither, and may have ended; and nobody must come to an image
// of which only a part is left, also if its ref has gone again.
func (m *marker) readEntries() error {
	images, err := entryObjects(m.c.r.images())
	if err != nil {
		return err
	}
	streams, err := entryObjects(m.c.r.streams())
	if err != nil {
		return err
	}
	if m.imageObjects == nil {
		m.imageObjects, m.streamObjects = images, streams
		return nil
	}
	m.needNew(images, m.imageObjects)
	m.needNew(streams, m.streamObjects)
	return nil
}

// needNew adds to a set of entries, and queues what it did not have.
func (m *marker) needNew(entries, known map[fsverity.Digest]struct{}) {
	for digest := range entries {
		if _, ok := known[digest]; !ok {
			known[digest] = struct{}{}
			m.need(digest, "a new entry", false)
		}
	}
}

// forget is told that an entry is being removed: if it comes back it is new.
func (m *marker) forget(digest fsverity.Digest) {
	delete(m.imageObjects, digest)
	delete(m.streamObjects, digest)
}

func entryObjects(l links) (map[fsverity.Digest]struct{}, error) {
	entries, err := l.entries()
	if err != nil {
		return nil, err
	}
	set := make(map[fsverity.Digest]struct{}, len(entries))
	for _, e := range entries {
		if e.err == nil {
			set[e.digest] = struct{}{}
		}
	}
	return set, nil
}

// findNew marks and queues what leases, refs and entries have got since the last time. The leases come
// first: who is missing there has ended, and its links are there.
func (m *marker) findNew() error {
	if err := m.findLeased(); err != nil {
		return err
	}
	stamp, err := m.c.leases.stamp()
	if err != nil || stamp == m.stamp {
		return err
	}
	return errors.Join(m.findRefs(), m.readEntries())
}

// findLeased marks what leases list.
func (m *marker) findLeased() error {
	return m.leases.refresh(func(digest fsverity.Digest) { m.need(digest, "a lease", false) })
}

// findRefs queues what refs name.
func (m *marker) findRefs() error {
	var err error
	if m.stamp, err = m.c.leases.stamp(); err != nil {
		return err
	}
	for _, l := range []links{m.c.r.images(), m.c.r.streams()} {
		refs, err := l.refs()
		if err != nil {
			return err
		}
		for _, ref := range refs {
			if ref.err != nil {
				return ref.err
			}
			digest, err := l.entry(ref.target)
			if err != nil {
				return fmt.Errorf("%w: the %s %s has lost its entry: %w", ErrCorrupt, l.what, ref.name, err)
			}
			m.needRoot(root{digest, l.what + " " + ref.name, true}, l.dir == "images")
		}
	}
	return nil
}

// needRoot queues an image or stream, also if its entry came after entries were read.
func (m *marker) needRoot(r root, image bool) {
	set := m.streamObjects
	if image {
		set = m.imageObjects
	}
	set[r.digest] = struct{}{}
	m.need(r.digest, r.why, r.must)
}

// need marks an object, and queues it if it is an image or stream.
func (m *marker) need(digest fsverity.Digest, why string, must bool) {
	m.c.set.mark(digest)
	if !m.knows(digest) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.seen[digest]; !ok {
		m.seen[digest] = struct{}{}
		m.queue = append(m.queue, root{digest, why, must})
	}
}

// follows says whether an image or stream was marked with all it needs, or will be. One that is marked
// and not followed is only some image's file.
func (m *marker) follows(digest fsverity.Digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.seen[digest]
	return ok
}

// knows says whether an object was an image or stream when entries were read.
func (m *marker) knows(digest fsverity.Digest) bool {
	_, image := m.imageObjects[digest]
	_, stream := m.streamObjects[digest]
	return image || stream
}

// pending says whether drain has something to do.
func (m *marker) pending() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.queue) > 0
}

// complete says whether everything is marked that anybody needs until now. If it is not, or that is
// just being found out, catchUp does the rest.
func (m *marker) complete() (bool, error) {
	if !m.busy.TryLock() {
		return false, nil
	}
	defer m.busy.Unlock()
	err := m.findNew()
	return err == nil && !m.pending(), err
}

// catchUp marks what was new.
func (m *marker) catchUp(ctx context.Context) error {
	m.busy.Lock()
	defer m.busy.Unlock()
	return m.drain(ctx)
}

// drain reads what is queued, and what that leads to.
func (m *marker) drain(ctx context.Context) error {
	for m.pending() {
		m.mu.Lock()
		queue := m.queue
		m.queue = nil
		m.mu.Unlock()
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(m.c.jobs())
		for _, next := range queue {
			if ctx.Err() != nil {
				break
			}
			g.Go(func() error { return m.follow(ctx, next) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// follow marks what an image or stream needs.
func (m *marker) follow(ctx context.Context, next root) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var err error
	if _, ok := m.imageObjects[next.digest]; ok {
		err = m.followImage(ctx, next.digest)
	}
	if _, ok := m.streamObjects[next.digest]; ok && err == nil {
		err = m.followStream(ctx, next)
	}
	if err != nil && (next.must || !gone(err)) {
		return fmt.Errorf("%s: %s: %w", next.why, next.digest, err)
	}
	if err != nil { // somebody may put it again
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.seen, next.digest)
	}
	return nil
}

func (m *marker) followImage(ctx context.Context, digest fsverity.Digest) error {
	img, err := m.c.r.openImage(digest)
	if err != nil {
		return err
	}
	defer img.Close()
	if err := m.verify(ctx, img.File, digest); err != nil {
		return err
	}
	for ref, err := range img.objectRefs() {
		if err != nil {
			return err
		}
		m.c.set.mark(ref.Digest)
	}
	return nil
}

// verify compares what is read with its digest, unless the kernel does that: what wrong bytes say, which may
// be sound, is not what is needed.
func (m *marker) verify(ctx context.Context, f *os.File, want fsverity.Digest) error {
	if m.c.r.verity {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	alg := fsverity.Algorithm{Hash: want.Hash(), BlockBits: m.c.r.meta.Algorithm.BlockBits}
	got, err := fsverity.File(ctx, f, info.Size(), fsverity.FileOptions{Options: fsverity.Options{Algorithm: alg}, Jobs: 1})
	if err == nil && got != want {
		err = fmt.Errorf("%w: its content has the digest %s", objects.ErrCorrupt, got)
	}
	return err
}

func (m *marker) followStream(ctx context.Context, next root) error {
	s, err := m.c.r.openStream(next.digest)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := m.verify(ctx, s.file, next.digest); err != nil {
		return err
	}
	for digest := range s.References() {
		m.need(digest, next.why, next.must)
	}
	for _, ref := range s.NamedRefs() {
		m.need(ref.Digest, next.why, next.must)
	}
	return nil
}

// findInUse marks the images without a name that somebody has open: above all the kernel, for a
// mount, in whatever namespace.
func (m *marker) findInUse() error {
	for digest := range m.imageObjects {
		if m.c.set.find(digest) < 0 || m.follows(digest) {
			continue
		}
		inUse, err := m.c.r.inUse(digest)
		if err != nil {
			return err
		}
		if inUse {
			m.inUse = append(m.inUse, digest)
			m.need(digest, "an image in use", true)
		}
	}
	return nil
}

// inUse says whether somebody has an image open, or nobody can tell.
func (r *Repository) inUse(digest fsverity.Digest) (bool, error) {
	f, err := r.objects.OpenObject(digest)
	if gone(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	open, err := isOpenElsewhere(f)
	if err != nil {
		open = true // a filesystem that does not tell, or the image of another user
	}
	return open, errors.Join(f.Close())
}
