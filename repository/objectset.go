package repository

import (
	"bytes"
	"runtime"
	"slices"
	"sort"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
)

// objectSet is the objects of a store at one time, and marks on them. Marking is safe for concurrent
// use. It takes the length of a digest and a bit for each object.
type objectSet struct {
	size  int      // of a digest in bytes
	sums  []byte   // all digests, sorted
	start [257]int // where those begin that begin with a byte; the last is their number
	marks []atomic.Uint32
}

// listObjects reads the names of the objects in a directory. other, if not nil, is told of what is
// not, or need not be, one of the repository's.
func listObjects(dir *objects.Dir, alg fsverity.Algorithm, other func(objects.Name)) (*objectSet, error) {
	s := &objectSet{size: alg.Hash.Size()}
	var sums [256][]byte
	var others [256][]objects.Name
	var g errgroup.Group
	g.SetLimit(min(4, runtime.GOMAXPROCS(0)))
	for b := range sums {
		g.Go(func() error {
			names, err := dir.NamesIn(byte(b))
			sums[b] = make([]byte, 0, len(names)*s.size)
			for _, found := range names {
				known := !found.Digest.IsZero() && found.Digest.Hash() == alg.Hash
				if known {
					sums[b] = found.Digest.Append(sums[b])
				}
				if !known || !found.Type.IsRegular() {
					others[b] = append(others[b], found)
				}
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for b := range sums {
		s.start[b+1] = s.start[b] + len(sums[b])/s.size
		for _, found := range others[b] {
			if other != nil {
				other(found)
			}
		}
	}
	s.sums = slices.Concat(sums[:]...)
	s.marks = make([]atomic.Uint32, (s.count()+31)/32)
	return s, nil
}

func (s *objectSet) count() int { return len(s.sums) / s.size }

// digest returns the i-th one.
func (s *objectSet) digest(i int) fsverity.Digest {
	digest, _ := fsverity.DigestFromBytes(s.sums[i*s.size : (i+1)*s.size]) // the length is right
	return digest
}

// find returns the place of a digest, or -1.
func (s *objectSet) find(digest fsverity.Digest) int {
	var buf [64]byte
	sum := digest.Append(buf[:0])
	if len(sum) != s.size {
		return -1
	}
	from, to := s.start[sum[0]], s.start[int(sum[0])+1]
	i := from + sort.Search(to-from, func(i int) bool {
		return bytes.Compare(s.sums[(from+i)*s.size:(from+i+1)*s.size], sum) >= 0
	})
	if i < to && bytes.Equal(s.sums[i*s.size:(i+1)*s.size], sum) {
		return i
	}
	return -1
}

// mark marks a digest if it is in the set.
func (s *objectSet) mark(digest fsverity.Digest) {
	if i := s.find(digest); i >= 0 {
		s.marks[i/32].Or(1 << (i % 32))
	}
}

// marked says whether the i-th digest is.
func (s *objectSet) marked(i int) bool { return s.marks[i/32].Load()&(1<<(i%32)) != 0 }
