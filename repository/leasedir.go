package repository

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"github.com/go-composefs/composefs/fsverity"
)

// gates is how many there are, in the first bytes of leases/.lock.
const gates = 256

// The other bytes of leases/.lock, see the package comment.
const (
	collectorByte = gates + iota // held by the one collector
	wishByte                     // held by a collector from before it wants the directory's lock
	shieldByte                   // held by a collector with the wish, while it lacks that lock
	linksByte                    // held, also shared, by who changes links
)

const lockName = leasesDir + "/.lock"

// leaseDir is the open directory of leases, with a description of the lock file.
type leaseDir struct {
	r    *Repository
	root *os.Root
	lock *os.File

	links sync.Mutex // held with linksByte, of which a description has only one lock
}

// openLeases returns the directory of leases, which it makes when it is first needed. It belongs to
// the repository.
func (r *Repository) openLeases() (*leaseDir, error) {
	if err := r.writable(); err != nil {
		return nil, err
	}
	r.leaseDir.Lock()
	defer r.leaseDir.Unlock()
	if r.leaseDir.leaseDir == nil {
		d, err := r.newLeaseDir()
		if err != nil {
			return nil, fmt.Errorf("open leases: %w", err)
		}
		r.leaseDir.leaseDir = d
	}
	return r.leaseDir.leaseDir, nil
}

// newLeaseDir opens the directory with a lock file description of its own.
func (r *Repository) newLeaseDir() (*leaseDir, error) {
	if err := r.root.Mkdir(leasesDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, cannotWrite(err)
	}
	lock, err := r.root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, cannotWrite(err)
	}
	root, err := r.root.OpenRoot(leasesDir)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &leaseDir{r: r, root: root, lock: lock}, nil
}

// cannotWrite says ErrReadOnly where an error means that.
func cannotWrite(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	return err
}

// Close releases the directory.
func (d *leaseDir) Close() error { return errors.Join(d.root.Close(), d.lock.Close()) }

// passGate returns when no collector is removing objects of the digest's directory. One that does
// so later knows what was written into leases before the call.
func (d *leaseDir) passGate(digest fsverity.Digest) error { return d.passGateAt(gateOf(digest)) }

func (d *leaseDir) passGateAt(at int64) error {
	if err := lockByte(d.lock, at, shared); err != nil {
		return err
	}
	return unlockByte(d.lock, at)
}

// changeLinks makes links while no collector removes any, and stamps that.
func (d *leaseDir) changeLinks(change func() error) error {
	d.links.Lock()
	defer d.links.Unlock()
	if err := lockByte(d.lock, linksByte, shared); err != nil {
		return err
	}
	err := change()
	var stamp [stampSize]byte
	_, _ = rand.Read(stamp[:]) // never fails
	_, errStamp := d.lock.WriteAt(stamp[:], 0)
	return errors.Join(err, errStamp, unlockByte(d.lock, linksByte))
}

// stampSize is how many bytes the lock file holds: random ones, which tell a collector by being
// others than before that links were made. It need not read all links then to know that none were.
const stampSize = 16

// stamp returns the bytes of the lock file.
func (d *leaseDir) stamp() (stamp [stampSize]byte, err error) {
	if _, err = d.lock.ReadAt(stamp[:], 0); errors.Is(err, io.EOF) {
		err = nil // nobody has made links yet
	}
	return stamp, err
}

// gateOf returns the byte that stands for the digest's directory of objects.
func gateOf(digest fsverity.Digest) int64 {
	var sum [64]byte
	return int64(digest.Append(sum[:0])[0])
}
