package repository

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-composefs/composefs/fsverity"
)

// Leases returns all leases, the oldest first; also those that do not count any more, until they are
// collected.
func (r *Repository) Leases() ([]LeaseInfo, error) {
	var list []LeaseInfo
	for id, err := range r.leaseIDs() {
		if err != nil {
			return nil, err
		}
		info, err := r.leaseInfo(id)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("lease %s: %w", id, err)
		}
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b LeaseInfo) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

// leaseIDs goes through the names of the leases.
func (r *Repository) leaseIDs() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		entries, err := fs.ReadDir(r.root.FS(), leasesDir)
		if err != nil {
			if !gone(err) {
				yield("", fmt.Errorf("list leases: %w", err))
			}
			return
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".") && !yield(e.Name(), nil) {
				return
			}
		}
	}
}

func (r *Repository) leaseInfo(id string) (LeaseInfo, error) {
	f, err := r.root.Open(leasesDir + "/" + id)
	if err != nil {
		return LeaseInfo{}, err
	}
	defer f.Close()
	return describeLease(f, id, r.meta.Algorithm)
}

func describeLease(f *os.File, id string, alg fsverity.Algorithm) (LeaseInfo, error) {
	header, err := readLeaseHeader(f)
	if err != nil {
		return LeaseInfo{}, err
	}
	info := LeaseInfo{ID: id, Owner: header.Owner, Created: header.Created, Expires: header.Expires, PID: header.PID}
	stat, err := f.Stat()
	if err != nil {
		return LeaseInfo{}, err
	}
	info.Objects = max(0, stat.Size()-leaseHeader) / int64(alg.Hash.Size())
	free, err := tryFlock(f, shared)
	if err == nil && free {
		err = dropFlock(f)
	}
	info.Held = !free
	return info, err
}

// RemoveLease ends a lease that no process holds before it expires. [ErrInUse] reports one that is
// held.
func (r *Repository) RemoveLease(id string) error {
	if err := r.writable(); err != nil {
		return err
	}
	if strings.HasPrefix(id, ".") || strings.Contains(id, "/") {
		return fmt.Errorf("remove lease: %w %q", ErrName, id)
	}
	removed, err := r.removeLease(id, func(LeaseInfo) bool { return false })
	if err == nil && !removed {
		err = fmt.Errorf("%w: a process holds the lease", ErrInUse)
	}
	if err != nil {
		return fmt.Errorf("remove lease %s: %w", id, err)
	}
	return nil
}

// removeLease removes a lease that no process holds, unless it shall be kept, and says whether it did.
func (r *Repository) removeLease(id string, keep func(LeaseInfo) bool) (bool, error) {
	path := leasesDir + "/" + id
	f, err := r.root.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	// With the lock nobody can take the lease over.
	if ok, err := tryFlock(f, exclusive); err != nil || !ok {
		return false, err
	}
	header, err := readLeaseHeader(f)
	if err == nil && keep(LeaseInfo{ID: id, Owner: header.Owner, Created: header.Created, Expires: header.Expires}) {
		return false, nil
	}
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return false, err
	}
	if err := r.step("unlink " + path); err != nil {
		return false, err
	}
	return true, r.root.Remove(path)
}

// listed goes through what a lease lists.
func (l *Lease) listed(alg fsverity.Algorithm) iter.Seq2[fsverity.Digest, error] {
	return func(yield func(fsverity.Digest, error) bool) {
		_, err := readListed(l.file, leaseHeader, alg, func(digest fsverity.Digest) bool { return yield(digest, nil) })
		if err != nil {
			yield(fsverity.Digest{}, err)
		}
	}
}

// readListed calls each with the digests that a lease's file has from a position on, until that returns
// false, and returns where they end: what is being written is left for the next time.
func readListed(f *os.File, from int64, alg fsverity.Algorithm, each func(fsverity.Digest) bool) (int64, error) {
	size := alg.Hash.Size()
	buf := make([]byte, 1024*size)
	for {
		n, err := f.ReadAt(buf, from)
		n -= n % size
		for i := 0; i < n; i += size {
			digest, err := fsverity.DigestFromBytes(buf[i : i+size])
			if err != nil {
				return from, err
			}
			from += int64(size)
			if !each(digest) {
				return from, nil
			}
		}
		if errors.Is(err, io.EOF) || err == nil && n == 0 {
			return from, nil
		}
		if err != nil {
			return from, err
		}
	}
}

// leaseReader reads what leases have got since it looked last.
type leaseReader struct {
	r    *Repository
	open map[string]*openLease
	// dead also reads leases that do not count any more. Who was killed may have made links, and not
	// have told of it.
	dead bool
}

type openLease struct {
	file *os.File
	at   int64 // where its digests have been read to
}

// refresh calls each with what is new in leases that count. What a lease has listed counts even if
// it ends now.
func (l *leaseReader) refresh(each func(fsverity.Digest)) error {
	now := time.Now()
	for id, err := range l.r.leaseIDs() {
		if err != nil {
			return err
		}
		if l.open[id] != nil {
			continue
		}
		f, err := l.r.root.Open(leasesDir + "/" + id)
		if gone(err) {
			continue
		}
		if err != nil {
			return err
		}
		info, err := describeLease(f, id, l.r.meta.Algorithm)
		if err != nil || !l.dead && !info.Live(now) {
			if err := errors.Join(err, f.Close()); err != nil {
				return fmt.Errorf("lease %s: %w", id, err)
			}
			continue
		}
		l.open[id] = &openLease{f, leaseHeader}
	}
	for id, lease := range l.open {
		var err error
		lease.at, err = readListed(lease.file, lease.at, l.r.meta.Algorithm, func(digest fsverity.Digest) bool {
			each(digest)
			return true
		})
		if err != nil {
			return fmt.Errorf("lease %s: %w", id, err)
		}
	}
	return nil
}

func (l *leaseReader) Close() error {
	var errs []error
	for _, lease := range l.open {
		errs = append(errs, lease.file.Close())
	}
	return errors.Join(errs...)
}
