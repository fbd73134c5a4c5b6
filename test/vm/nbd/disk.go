// Package nbd is a disk for virtual machines that can lose its power: what was written since the last
// flush is lost then, all of it or any part.
//
//	guest ──► virtio-blk ──► QEMU ──► NBD over a Unix socket ──► Disk
//
// It is written here because losing writes is what other servers are careful not to do. The protocol is
// NBD's fixed newstyle handshake with simple replies, as the nbd project's doc/proto.md has it.
package nbd

import (
	"errors"
	"math/rand/v2"
	"sync"
)

// sector is what a disk writes as a whole or not at all, in bytes: that of disks of today. With smaller
// ones ext4 cannot be mounted now and then: it writes its superblock, which has two sectors of 512 bytes,
// without the journal.
const sector = 4096

// Disk is a disk in memory with a volatile cache. It is safe for concurrent use.
type Disk struct {
	mu      sync.Mutex
	durable []byte  // what a power cut leaves
	current []byte  // what is read: with what the cache has
	cache   []write // since the last flush, in order
	dead    bool    // the power is off

	Flushes, Lost int // how often the cache was flushed, and how many sectors were lost
}

type write struct {
	at   int64
	data []byte
}

var errDead = errors.New("the power is off")

// New returns a disk with a content, which becomes the disk's.
func New(content []byte) *Disk {
	return &Disk{durable: content, current: append([]byte(nil), content...)}
}

// Content returns what is on the disk now.
func (d *Disk) Content() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]byte(nil), d.current...)
}

func (d *Disk) valid(at int64, n int) bool {
	return at >= 0 && at <= int64(len(d.current)) && int64(n) <= int64(len(d.current))-at
}

func (d *Disk) readAt(b []byte, at int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead || !d.valid(at, len(b)) {
		return errDead
	}
	copy(b, d.current[at:])
	return nil
}

// writeAt keeps b.
func (d *Disk) writeAt(b []byte, at int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead || !d.valid(at, len(b)) {
		return errDead
	}
	copy(d.current[at:], b)
	d.cache = append(d.cache, write{at, b})
	return nil
}

func (d *Disk) flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return errDead
	}
	for _, w := range d.cache {
		copy(d.durable[w.at:], w.data)
	}
	d.cache = nil
	d.Flushes++
	return nil
}

// Cut cuts the power: from now on every request fails. Of what is in the cache each sector has reached
// the disk with a probability of keep.
func (d *Disk) Cut(rnd *rand.Rand, keep float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	for _, w := range d.cache {
		for at, rest := w.at, w.data; len(rest) > 0; {
			n := min(len(rest), int(sector-at%sector))
			if rnd.Float64() < keep {
				copy(d.durable[at:], rest[:n])
			} else {
				d.Lost++
			}
			at, rest = at+int64(n), rest[n:]
		}
	}
	d.cache = nil
}

// Restore gives the disk power again.
func (d *Disk) Restore() {
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(d.current, d.durable)
	d.dead = false
}
