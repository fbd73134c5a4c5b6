package tardiff

import (
	"encoding/binary"
	"math/bits"
)

// region is a part of a new file: added bytes that resemble the old file from a place on, then bytes that do not.
type region struct {
	old   int // place in the old bytes
	added int
	data  int
}

// seedSize is how many bytes must be equal for a place in the old bytes to be found.
const seedSize = 8

const (
	maxPlaces = 8 << 20 // of an index: beyond, only every second, third … place can be found
	maxChain  = 16      // places of equal hash that are tried
	// slack is by how many bytes another place must match better than the one at hand to be preferred: it costs
	// operations.
	slack = 8
	// maxMatch is as far as a match is measured at once.
	maxMatch = 1 << 20
)

// index finds places in old bytes by what stands there.
type index struct {
	old   []byte
	step  int
	shift uint
	head  []int32 // by hash, the first place / step, plus one
	next  []int32 // by place / step, the next one of the same hash, plus one
}

// fill makes x the index of other bytes. Its memory is used again.
func (x *index) fill(old []byte) {
	x.old, x.step = old, 1+len(old)/(maxPlaces+1)
	places := max(0, len(old)-seedSize+1+x.step-1) / x.step
	log := max(8, bits.Len(uint(places))-1)
	x.shift = uint(64 - log)
	x.head, x.next = grown(x.head, 1<<log), grown(x.next, places)
	clear(x.head)
	// From behind, so that of equal places the first is tried first.
	for i := places - 1; i >= 0; i-- {
		h := x.hash(old[i*x.step:])
		x.next[i] = x.head[h]
		x.head[h] = int32(i + 1)
	}
}

// grown returns a slice of n values, whatever they are, in the memory of s if that is large enough.
func grown(s []int32, n int) []int32 {
	if cap(s) < n {
		return make([]int32, n)
	}
	return s[:n]
}

func (x *index) hash(p []byte) uint64 {
	return binary.LittleEndian.Uint64(p) * 0x9e3779b97f4a7c15 >> x.shift
}

// find returns the place in the old bytes where most of p stands, and how much of it; of equal ones the first.
func (x *index) find(p []byte) (at, length int) {
	if len(p) < seedSize {
		return 0, 0
	}
	i := x.head[x.hash(p)]
	for n := 0; i != 0 && n < maxChain; n++ {
		place := int(i-1) * x.step
		if l := matchLen(x.old[place:], p); l > length {
			at, length = place, l
		}
		i = x.next[i-1]
	}
	if length < seedSize {
		return 0, 0 // an accident of the hash
	}
	return at, length
}

// matchLen returns how many bytes at the beginnings of a and b are equal, at most maxMatch.
func matchLen(a, b []byte) int {
	n, limit := 0, min(len(a), len(b), maxMatch)
	for ; n+8 <= limit; n += 8 {
		if d := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); d != 0 {
			return n + bits.TrailingZeros64(d)/8
		}
	}
	for n < limit && a[n] == b[n] {
		n++
	}
	return n
}

// compare describes fresh as regions of old. The method is that of Colin Percival's bsdiff ("Naive differences of
// executable code", 2003): matches are extended over single differing bytes, as moved addresses leave them; what is exact
// is found by hash instead of by a sorted list of suffixes, which takes less time and memory. The index is for scratch.
func compare(old, fresh []byte, scratch *index) []region {
	scratch.fill(old)
	c := &comparison{old: old, fresh: fresh, index: scratch}
	for c.scan < len(fresh) {
		at, length, better := c.search()
		if better {
			c.cut(at)
		}
		c.scan += length
	}
	c.cut(0)
	return c.regions
}

// comparison is the state of compare.
type comparison struct {
	old, fresh []byte
	index      *index
	regions    []region

	scan  int // place in fresh that is looked at
	done  int // bytes of fresh that are described
	shift int // the place in old less that in fresh of the region at hand
}

// same says whether a byte of fresh is equal to the old one under the shift at hand.
func (c *comparison) same(i int) bool {
	o := i + c.shift
	return o >= 0 && o < len(c.old) && c.old[o] == c.fresh[i]
}

// search moves scan to where another place of the old bytes matches better than the shift at hand, or where both match all
// the same, and returns that match. At the end of fresh there is none.
func (c *comparison) search() (at, length int, better bool) {
	counted, equal := c.scan, 0 // how many bytes of fresh[scan:counted] are equal under the shift at hand
	for c.scan < len(c.fresh) {
		at, length = c.index.find(c.fresh[c.scan:])
		if length > 0 && at == c.scan+c.shift {
			return at, length, false
		}
		for ; counted < c.scan+length; counted++ {
			if c.same(counted) {
				equal++
			}
		}
		switch {
		case length > 0 && length == equal:
			return at, length, false
		case length > equal+slack:
			return at, length, true
		}
		// Up to the next byte that differs the comparison would come out the same.
		for same := length > 0; same && c.scan < len(c.fresh); c.scan++ {
			if same = c.same(c.scan); same && c.scan < counted {
				equal--
			}
		}
		if length == 0 {
			if c.scan < counted && c.same(c.scan) {
				equal--
			}
			c.scan++
		}
		counted = max(counted, c.scan)
	}
	return 0, 0, false
}

// cut ends the region at hand before scan, and begins the next, whose match with the old bytes is at a place.
func (c *comparison) cut(at int) {
	forward := c.forward()
	backward := 0
	if c.scan < len(c.fresh) {
		backward = c.backward(at)
	}
	if over := c.done + forward - (c.scan - backward); over > 0 {
		keep := c.divide(at, forward-over, over, backward)
		forward, backward = forward-over+keep, backward-keep
	}
	r := region{old: c.done + c.shift, added: forward, data: c.scan - backward - c.done - forward}
	if r.added > 0 || r.data > 0 {
		c.regions = append(c.regions, r)
	}
	c.done = c.scan - backward
	c.shift = at - c.scan
}

// forward returns how far the region at hand resembles the old bytes.
func (c *comparison) forward() int {
	best, score, top := 0, 0, 0
	for i := c.done; i < c.scan && i+c.shift < len(c.old) && i+c.shift >= 0; i++ {
		if score--; c.same(i) {
			score += 2
		}
		if score > top {
			best, top = i+1-c.done, score
		}
	}
	return best
}

// backward returns how far the next match resembles the old bytes before its place.
func (c *comparison) backward(at int) int {
	best, score, top := 0, 0, 0
	for i := 1; c.scan-i >= c.done && at-i >= 0; i++ {
		if score--; c.old[at-i] == c.fresh[c.scan-i] {
			score += 2
		}
		if score > top {
			best, top = i, score
		}
	}
	return best
}

// divide gives the bytes that both the region at hand and the next one resemble to the one or the other, and returns how many
// the first one keeps. They begin at from in the region at hand, and lie at the beginning of the next one.
func (c *comparison) divide(at, from, over, backward int) int {
	keep, score, top := 0, 0, 0
	for i := range over {
		place := c.done + from + i
		if c.same(place) {
			score++
		}
		if c.old[at-backward+i] == c.fresh[place] {
			score--
		}
		if score > top {
			keep, top = i+1, score
		}
	}
	return keep
}
