package repository

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
)

// guard keeps composefs-rs's collector out as long as leases are held: it holds the lock of the
// repository's directory shared. When a collector of this package wishes for that lock, the guard
// steps aside, for that collector's lock keeps the other out as well. In the moments when nobody
// holds the lock the other can come in all the same. It removes whatever no ref leads to, so
// before it steps aside the guard makes an object that no ref leads to, the canary. If that is
// gone later, so may be anything that a lease lists.
type guard struct {
	r *Repository

	mu     sync.RWMutex // held shared by who relies on held for longer than a moment
	held   atomic.Bool  // cleared before the lock is dropped
	canary fsverity.Digest
	// canaries are all that there were, by digest: leases list them for ever. Who holds mu shared
	// asks for them, so it cannot be what guards them: a second shared lock would wait for a
	// writer that waits for the first.
	canaries sync.Map
	// lost counts how often the canary was gone, or could not be made.
	lost   int
	leases map[*Lease]int // with lost when each began
	stop   chan struct{}
	ended  chan struct{} // closed when watch has returned: it uses a file of the last lease

	// aside is held by who relies on a collector's lock, for only one lock of a byte can be had
	// by a description. It is locked before mu.
	aside sync.Mutex
}

// How often the guard looks for a wish, and tries to get the lock back. Both are system calls of
// less than a microsecond.
const (
	wishInterval  = 5 * time.Millisecond
	retryInterval = time.Millisecond
)

// join adds a lease; the first one takes the lock.
func (g *guard) join(ctx context.Context, l *Lease) error {
	g.aside.Lock()
	defer g.aside.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.leases) == 0 {
		if err := g.start(ctx, l); err != nil {
			return err
		}
	}
	if !g.canary.IsZero() {
		if err := l.claim(g.canary); err != nil {
			return err
		}
	}
	g.leases[l] = g.lost
	return nil
}

// start takes the lock, or relies on a collector that has it. The caller holds aside and mu.
func (g *guard) start(ctx context.Context, l *Lease) error {
	g.leases = map[*Lease]int{}
	g.canaries.Clear()
	g.canary = fsverity.Digest{}
	for {
		held, err := tryFlock(g.r.dir, shared)
		if err != nil {
			return err
		}
		if held {
			g.held.Store(true)
			break
		}
		collecting, err := g.shield(l.d)
		if err != nil {
			return err
		}
		if collecting {
			err := g.makeCanary(ctx, []*Lease{l})
			if err = errors.Join(err, unlockByte(l.d.lock, shieldByte)); err != nil {
				return err
			}
			break
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	g.stop, g.ended = make(chan struct{}), make(chan struct{})
	go g.watch(l.d, g.stop, g.ended)
	return nil
}

// leave takes a lease out; the last one drops the lock.
func (g *guard) leave(l *Lease) {
	g.mu.Lock()
	_, ok := g.leases[l]
	delete(g.leases, l)
	if !ok || len(g.leases) > 0 {
		g.mu.Unlock()
		return
	}
	close(g.stop)
	ended := g.ended
	g.removeCanary()
	if g.held.Swap(false) {
		_ = dropFlock(g.r.dir) // closing the directory would do it too
	}
	g.mu.Unlock()
	<-ended
}

// watch steps aside when a collector wishes it, and takes the lock again after that.
func (g *guard) watch(d *leaseDir, stop, ended chan struct{}) {
	defer close(ended)
	ticker := time.NewTicker(wishInterval)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		wished, err := lockedByte(d.lock, wishByte)
		if err != nil {
			continue // as it is, others wait
		}
		g.mu.Lock()
		select {
		case <-stop:
			g.mu.Unlock()
			return
		default:
		}
		switch {
		case wished && g.held.Load():
			g.stepAside()
		case !wished && !g.held.Load():
			g.stepBack()
		}
		g.mu.Unlock()
	}
}

// stepAside drops the lock. The caller holds mu.
func (g *guard) stepAside() {
	leases := make([]*Lease, 0, len(g.leases))
	for l := range g.leases {
		leases = append(leases, l)
	}
	if err := g.makeCanary(context.Background(), leases); err != nil {
		g.lost++ // nobody will know whether the other collector ran
	}
	g.held.Store(false)
	_ = dropFlock(g.r.dir) // cannot fail for an open directory
}

// stepBack takes the lock if nobody else has it. The caller holds mu.
func (g *guard) stepBack() {
	if held, err := tryFlock(g.r.dir, shared); err != nil || !held {
		return
	}
	g.held.Store(true)
	g.look()
	g.removeCanary()
}

// look finds out whether another collector has been there. The caller holds mu, and the lock or a
// collector's shield.
func (g *guard) look() {
	if g.canary.IsZero() {
		return
	}
	if there, err := g.r.objects.Has(g.canary); err != nil || !there {
		g.lost++
		g.canary = fsverity.Digest{}
	}
}

// makeCanary makes an object that only the leases list. The caller holds mu.
func (g *guard) makeCanary(ctx context.Context, leases []*Lease) error {
	dir, err := g.r.openObjects(objects.Options{Claim: func(digest fsverity.Digest) error {
		for _, l := range leases {
			if err := l.claim(digest); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		return err
	}
	defer dir.Close()
	stored, err := dir.PutBytes(ctx, []byte("canary of composefs transactions "+rand.Text()))
	if err == nil {
		g.canary = stored.Digest
		g.canaries.Store(stored.Digest, nil)
	}
	return err
}

// wasCanary says whether an object was made by the guard.
func (g *guard) wasCanary(digest fsverity.Digest) bool {
	_, ok := g.canaries.Load(digest)
	return ok
}

// removeCanary removes it. The caller holds mu.
func (g *guard) removeCanary() {
	if !g.canary.IsZero() {
		_ = g.r.root.Remove(objectsDir + "/" + g.canary.ObjectPath()) // a collector would do it too
		g.canary = fsverity.Digest{}
	}
}

// shield says whether a collector of this package has the directory's lock, and will keep it until
// the shield's byte is unlocked.
func (g *guard) shield(d *leaseDir) (bool, error) {
	// The collector locks the shield before the wish and drops it last: who has the shield and
	// finds the wish has a collector with the lock.
	ok, err := tryLockByte(d.lock, shieldByte, shared)
	if err != nil || !ok {
		return false, err
	}
	wished, err := lockedByte(d.lock, wishByte)
	if err == nil && wished {
		return true, nil
	}
	return false, errors.Join(err, unlockByte(d.lock, shieldByte))
}

// enter returns when the other collector is kept out until leave is called, which must be soon. lost
// says that it may have run since the lease began.
func (g *guard) enter(ctx context.Context, l *Lease) (leave func(), lost bool, err error) {
	for {
		g.mu.RLock()
		if g.held.Load() {
			return g.mu.RUnlock, g.leases[l] != g.lost, nil
		}
		g.mu.RUnlock()

		g.aside.Lock()
		collecting, err := g.shield(l.d)
		if err != nil {
			g.aside.Unlock()
			return nil, false, err
		}
		if collecting {
			g.mu.Lock()
			g.look()
			lost = g.leases[l] != g.lost
			g.mu.Unlock()
			return func() {
				_ = unlockByte(l.d.lock, shieldByte) // cannot fail for a lock that is held
				g.aside.Unlock()
			}, lost, nil
		}
		g.aside.Unlock()
		// The collector waits for somebody.
		g.mu.Lock()
		g.stepBack()
		held := g.held.Load()
		g.mu.Unlock()
		if held {
			continue
		}
		if err := pause(ctx); err != nil {
			return nil, false, err
		}
	}
}

// pause waits for retryInterval, or returns why it should not.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(retryInterval):
		return nil
	}
}

// gone says whether an error is that something is not there.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
