package repository

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/go-composefs/composefs/fsverity"
)

// leaseHeader is the length in bytes of what comes before the digests in a lease's file: an object
// of JSON, padded with spaces, and a newline. It is written in place when the lease is extended.
const leaseHeader = 512

// leaseJSON is what a lease's file begins with.
type leaseJSON struct {
	Owner   string    `json:"owner"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	PID     int       `json:"pid"`
}

// LeaseInfo describes a lease.
type LeaseInfo struct {
	ID      string    `json:"id"`
	Owner   string    `json:"owner"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: with the process that holds it
	PID     int       `json:"pid"`              // of the process that made it, in its own namespace
	Held    bool      `json:"held"`             // by a process that runs
	Objects int64     `json:"objects"`          // how many digests it lists
}

// Live says whether the lease counts: it is held, or has not expired.
func (i LeaseInfo) Live(now time.Time) bool { return i.Held || now.Before(i.Expires) }

// Lease keeps objects, images and streams from being collected: each by its digest, an image or
// stream with all that it needs. It is safe for concurrent use.
//
//	leases/ID   512 bytes of JSON: owner, when made, when it expires
//	            then digests of 32 or 64 bytes, one after the other
//
// The process that holds a lease has its file locked with flock(2). A lease without expiry counts
// as long as that, so it is over when the process is; others outlive it, and power failures, until they
// expire.
type Lease struct {
	d      *leaseDir
	id     string
	file   *os.File
	header leaseJSON

	mu   sync.Mutex
	last fsverity.Digest // listed last; saves listing runs of the same
}

// NewLease makes a lease that expires after ttl unless it is extended, also if this process does not
// live that long. owner says who holds it, for people. Release it after use; or Abandon it, to go
// on in another process by its ID.
func (r *Repository) NewLease(ctx context.Context, owner string, ttl time.Duration) (*Lease, error) {
	if ttl <= 0 {
		return nil, fmt.Errorf("lease: %w: it would expire at once", fs.ErrInvalid)
	}
	l, err := r.newLease(ctx, owner, ttl)
	if err != nil {
		return nil, fmt.Errorf("make lease: %w", err)
	}
	return l, nil
}

// newLease makes a lease; one of a ttl of 0 lasts as long as the process.
func (r *Repository) newLease(ctx context.Context, owner string, ttl time.Duration) (*Lease, error) {
	if len(owner) > leaseHeader/4 {
		owner = owner[:leaseHeader/4]
	}
	d, err := r.openLeases()
	if err != nil {
		return nil, err
	}
	l := &Lease{d: d, id: rand.Text(), header: leaseJSON{Owner: owner, Created: time.Now().UTC(), PID: os.Getpid()}}
	if ttl > 0 {
		l.header.Expires = l.header.Created.Add(ttl)
	}
	if err := l.create(); err != nil {
		return nil, err
	}
	if err := r.guard.join(ctx, l); err != nil {
		return nil, errors.Join(err, l.remove())
	}
	return l, nil
}

// create makes the lease's file. It has its lock before it has a name that the collector reads.
func (l *Lease) create() error {
	if err := l.d.r.step("create lease"); err != nil {
		return err
	}
	temp := tempLease + l.id
	f, err := l.d.root.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	l.file = f
	_, err = tryFlock(f, exclusive) // nobody else knows the file
	if err == nil {
		err = l.writeHeader()
	}
	if isFull(err) && !l.durable() {
		// What makes space needs no space: a lease counts while it is held, also with a hole where
		// it would tell whose it is.
		err = f.Truncate(leaseHeader)
	}
	if err == nil {
		err = l.d.root.Rename(temp, l.id)
	}
	if err == nil && l.durable() {
		err = l.d.r.syncDir(leasesDir)
	}
	if err != nil {
		_ = l.d.root.Remove(temp)
		return errors.Join(err, f.Close())
	}
	return nil
}

// isFull says whether an error is that there is no space left.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// durable says whether the lease outlives the process, and so a power failure too.
func (l *Lease) durable() bool { return !l.header.Expires.IsZero() }

// tempLease is what names of lease files begin with that are being made.
const tempLease = ".new-"

func (l *Lease) writeHeader() error {
	data, err := json.Marshal(l.header)
	if err != nil {
		return err
	}
	if len(data) >= leaseHeader {
		return fmt.Errorf("%w: the owner of a lease has a too long name", ErrName)
	}
	page := bytes.Repeat([]byte(" "), leaseHeader)
	copy(page, data)
	page[leaseHeader-1] = '\n'
	// WriteAt is not for files that are appended to; another description is.
	f, err := l.d.root.OpenFile(tempLease+l.id, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = l.d.root.OpenFile(l.id, os.O_WRONLY, 0)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteAt(page, 0)
	if err == nil && l.durable() {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// OpenLease takes over a lease that a process has abandoned. [ErrInUse] reports one that is held.
func (r *Repository) OpenLease(ctx context.Context, id string) (*Lease, error) {
	d, err := r.openLeases()
	if err != nil {
		return nil, err
	}
	f, err := d.root.OpenFile(id, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, fmt.Errorf("open lease %s: %w", id, err)
	}
	l := &Lease{d: d, id: id, file: f}
	if err := l.takeOver(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open lease %s: %w", id, err), f.Close())
	}
	return l, nil
}

func (l *Lease) takeOver(ctx context.Context) error {
	ok, err := tryFlock(l.file, exclusive)
	// Who only looks at it has it locked for a moment.
	for attempt := 0; err == nil && !ok && attempt < 20; attempt++ {
		if err := pause(ctx); err != nil {
			return err
		}
		ok, err = tryFlock(l.file, exclusive)
	}
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: another process holds the lease", ErrInUse)
	}
	// It may have been removed before it was locked.
	if _, err := l.d.root.Lstat(l.id); err != nil {
		return err
	}
	if l.header, err = readLeaseHeader(l.file); err != nil {
		return err
	}
	return l.d.r.guard.join(ctx, l)
}

// ID names the lease, see [Repository.OpenLease].
func (l *Lease) ID() string { return l.id }

// Expires tells when.
func (l *Lease) Expires() time.Time { return l.header.Expires }

// Extend lets the lease expire after ttl from now on.
func (l *Lease) Extend(ttl time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.header.Expires = time.Now().UTC().Add(ttl)
	if err := l.writeHeader(); err != nil {
		return fmt.Errorf("extend lease %s: %w", l.id, err)
	}
	return nil
}

// Keep adds objects, images or streams by their digests. What is there when Keep returns stays; it
// does not look whether they are.
func (l *Lease) Keep(digests ...fsverity.Digest) error {
	for _, digest := range digests {
		if err := l.claim(digest); err != nil {
			return err
		}
	}
	if l.durable() {
		if err := l.file.Sync(); err != nil {
			return fmt.Errorf("lease objects: %w", err)
		}
	}
	return nil
}

// claim lists a digest and passes the gate.
func (l *Lease) claim(digest fsverity.Digest) error {
	var sum [64]byte
	l.mu.Lock()
	if l.last == digest {
		l.mu.Unlock()
		return nil
	}
	_, err := l.file.Write(digest.Append(sum[:0]))
	l.mu.Unlock()
	if err != nil {
		return fmt.Errorf("lease object: %w", err)
	}
	// While this process has the lock of the directory, no collector has it, and so all gates are
	// open: one that comes later reads the lease.
	if !l.d.r.guard.held.Load() {
		if err := l.d.passGate(digest); err != nil {
			return err
		}
	}
	l.mu.Lock()
	l.last = digest
	l.mu.Unlock()
	return nil
}

// claimAll is claim for many digests, one after the other.
func (l *Lease) claimAll(digests []byte) error {
	l.mu.Lock()
	_, err := l.file.Write(digests)
	l.mu.Unlock()
	if err != nil {
		return fmt.Errorf("lease objects: %w", err)
	}
	for gate := int64(0); gate < gates && !l.d.r.guard.held.Load(); gate++ {
		if err := l.d.passGateAt(gate); err != nil {
			return err
		}
	}
	return nil
}

// Release ends the lease.
func (l *Lease) Release() error {
	l.d.r.guard.leave(l)
	return l.remove()
}

// Abandon lets go of the lease and leaves it to expire, or to be taken over.
func (l *Lease) Abandon() error {
	l.d.r.guard.leave(l)
	return l.file.Close()
}

func (l *Lease) remove() error {
	err := l.d.root.Remove(l.id)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, l.file.Close())
}

// readLeaseHeader reads what a lease's file begins with. That is nothing, or only zeros, of a lease that
// was not durable and was made on a full disk, or lost its data in a power failure: it has no expiry, as it
// had before.
func readLeaseHeader(f *os.File) (leaseJSON, error) {
	var page [leaseHeader]byte
	n, err := f.ReadAt(page[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return leaseJSON{}, err
	}
	if n < leaseHeader || page == [leaseHeader]byte{} {
		return leaseJSON{}, nil
	}
	var header leaseJSON
	if err := json.Unmarshal(page[:], &header); err != nil {
		return leaseJSON{}, fmt.Errorf("%w: lease: %w", ErrCorrupt, err)
	}
	return header, nil
}
