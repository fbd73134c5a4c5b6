package repository

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// cacheName is the file of the cache of unchanged files, integers little-endian:
//
//	 0  8  "cfsfiles"
//	 8  4  version, 1
//	12  4  length of a digest, 32 or 64
//	16     records, sorted by device and inode number:
//	        0  8  device    8  8  inode
//	       16  8  size in bytes
//	       24  8  mtime, seconds    32  4  nanoseconds
//	       36  4  for how many imports nobody has asked for it
//	       40  8  ctime, seconds    48  4  nanoseconds
//	       52  4  1 if the file has no extended attributes, else 0
//	       56     digest
//	       …
//	-32 32  SHA-256 of all before it
const cacheName = "filecache"

const (
	cacheMagic   = "cfsfiles"
	cacheVersion = 1
	cacheHead    = 16
	cacheRecord  = 56 // without the digest
	// cacheAge is after how many imports a file that is in none of them is forgotten.
	cacheAge = 20
	// cacheMost bounds the file in bytes.
	cacheMost = 1 << 30
)

// FileCache lets a transaction pass over files that have not changed since an earlier one has read
// them: those of the same device, inode number, size, mtime and ctime. It is a [tree.FileCache].
// Nothing but the kernel's clock stands for it that such a file has the same content; who can set
// clocks, or write to disks below the filesystem, can deceive it.
type FileCache struct {
	t    *Transaction
	size int    // of a digest
	old  []byte // records
	hits []atomic.Bool

	mu  sync.Mutex
	new []byte // records, in no order
}

// FileCache opens the repository's cache for a scan whose [tree.ScanOptions] have the transaction as
// Sink. A cache that is missing or damaged is empty.
func (t *Transaction) FileCache() (*FileCache, error) {
	c := &FileCache{t: t, size: t.r.meta.Algorithm.Hash.Size()}
	f, err := t.r.root.Open(cacheName)
	if gone(err) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open file cache: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, cacheMost))
	if err != nil {
		return nil, fmt.Errorf("read file cache: %w", err)
	}
	c.old = c.records(data)
	c.hits = make([]atomic.Bool, len(c.old)/c.record())
	if err := t.lease.claimAll(c.digests()); err != nil {
		return nil, fmt.Errorf("open file cache: %w", err)
	}
	return c, nil
}

// digests returns all digests of the old records, one after the other.
func (c *FileCache) digests() []byte {
	list := make([]byte, 0, len(c.hits)*c.size)
	for at := cacheRecord; at < len(c.old); at += c.record() {
		list = append(list, c.old[at:at+c.size]...)
	}
	return list
}

func (c *FileCache) record() int { return cacheRecord + c.size }

// records returns the records of a cache's file, none if it is not whole.
func (c *FileCache) records(data []byte) []byte {
	end := len(data) - sha256.Size
	if end < cacheHead || string(data[:8]) != cacheMagic ||
		binary.LittleEndian.Uint32(data[8:]) != cacheVersion ||
		int(binary.LittleEndian.Uint32(data[12:])) != c.size || (end-cacheHead)%c.record() != 0 {
		return nil
	}
	if sum := sha256.Sum256(data[:end]); !bytes.Equal(sum[:], data[end:]) {
		return nil
	}
	return data[cacheHead:end]
}

// appendRecord appends a record without its digest.
func appendRecord(b []byte, s tree.FileState, flags uint32) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, s.ID.Dev)
	b = le.AppendUint64(b, s.ID.Ino)
	b = le.AppendUint64(b, s.Size)
	b = le.AppendUint64(b, uint64(s.Mtime.Sec))
	b = le.AppendUint32(b, s.Mtime.Nsec)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, uint64(s.Ctime.Sec))
	b = le.AppendUint32(b, s.Ctime.Nsec)
	return le.AppendUint32(b, flags)
}

func compareIDs(a, b []byte) int {
	le := binary.LittleEndian
	return cmp.Or(cmp.Compare(le.Uint64(a), le.Uint64(b)), cmp.Compare(le.Uint64(a[8:]), le.Uint64(b[8:])))
}

// Lookup implements [tree.FileCache].
func (c *FileCache) Lookup(state tree.FileState) (tree.KnownFile, bool) {
	var buf [cacheRecord]byte
	want := appendRecord(buf[:0], state, 0)
	size := c.record()
	i := sort.Search(len(c.hits), func(i int) bool { return compareIDs(c.old[i*size:], want) >= 0 })
	if i == len(c.hits) {
		return tree.KnownFile{}, false
	}
	got := c.old[i*size : (i+1)*size]
	if !bytes.Equal(got[:36], want[:36]) || !bytes.Equal(got[40:52], want[40:52]) {
		return tree.KnownFile{}, false
	}
	digest, err := fsverity.DigestFromBytes(got[cacheRecord:])
	if err != nil || c.t.present(digest, int64(state.Size)) != nil {
		return tree.KnownFile{}, false // then it is read
	}
	c.hits[i].Store(true)
	return tree.KnownFile{Digest: digest, Bare: binary.LittleEndian.Uint32(got[52:]) == 1}, true
}

// Remember implements [tree.FileCache].
func (c *FileCache) Remember(state tree.FileState, file tree.KnownFile) {
	// A file that changes again before the clock moves on keeps its times. Clocks of
	// filesystems move every 10 ms or faster, but for those that count in whole seconds.
	rest := 100 * time.Millisecond
	if state.Ctime.Nsec == 0 {
		rest = 3 * time.Second
	}
	if time.Since(time.Unix(state.Ctime.Sec, int64(state.Ctime.Nsec))) < rest {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	flags := uint32(0)
	if file.Bare {
		flags = 1
	}
	c.new = file.Digest.Append(appendRecord(c.new, state, flags))
}

// Save writes the cache, with what it has learned, for the transactions to come. It need not be
// durable: one that is not whole counts as empty.
func (c *FileCache) Save(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := c.record()
	list := make([][]byte, 0, (len(c.new)+len(c.old))/size)
	for at := 0; at < len(c.new); at += size {
		list = append(list, c.new[at:at+size])
	}
	for i := range c.hits {
		if old := c.old[i*size : (i+1)*size]; c.aged(old, c.hits[i].Load()) {
			list = append(list, old)
		}
	}
	// New records come first among those of the same file.
	slices.SortStableFunc(list, compareIDs)
	list = slices.CompactFunc(list, func(a, b []byte) bool { return compareIDs(a, b) == 0 })
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.write(list); err != nil {
		return fmt.Errorf("write file cache: %w", err)
	}
	return nil
}

// aged counts the imports in which nobody asked for a record, and says whether it is still kept.
func (c *FileCache) aged(record []byte, hit bool) bool {
	age := binary.LittleEndian.Uint32(record[36:]) + 1
	if hit {
		age = 0
	}
	binary.LittleEndian.PutUint32(record[36:], age)
	return age < cacheAge
}

func (c *FileCache) write(list [][]byte) error {
	out := make([]byte, 0, cacheHead+len(list)*c.record()+sha256.Size)
	out = append(out, cacheMagic...)
	out = binary.LittleEndian.AppendUint32(out, cacheVersion)
	out = binary.LittleEndian.AppendUint32(out, uint32(c.size))
	for _, record := range list {
		if len(out) > cacheMost-c.record()-sha256.Size {
			break
		}
		out = append(out, record...)
	}
	sum := sha256.Sum256(out)
	return c.t.r.replaceFile(cacheName, append(out, sum[:]...))
}
