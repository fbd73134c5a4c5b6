package repository

import "github.com/go-composefs/composefs/fsverity"

// referrersFirst sorts entries of streams so that one comes before those that its stream refers to. Who
// claims a stream while they are removed then finds either all that it needs, or no entry of it.
func (c *collector) referrersFirst(entries []link) []link {
	byDigest := map[fsverity.Digest][]link{} // what may go; of streams with equal content all ids
	var order []link
	for _, e := range entries {
		if e.err != nil || c.marker.follows(e.digest) {
			order = append(order, e) // it stays
			continue
		}
		byDigest[e.digest] = append(byDigest[e.digest], e)
	}
	refersTo := make(map[fsverity.Digest][]fsverity.Digest, len(byDigest))
	referrers := make(map[fsverity.Digest]int, len(byDigest)) // how many are not in order yet
	for digest := range byDigest {
		for _, ref := range c.streamsOf(digest) {
			if _, ok := byDigest[ref]; ok {
				refersTo[digest] = append(refersTo[digest], ref)
				referrers[ref]++
			}
		}
	}
	var next []fsverity.Digest
	for digest := range byDigest {
		if referrers[digest] == 0 {
			next = append(next, digest)
		}
	}
	for len(next) > 0 {
		digest := next[len(next)-1]
		next = next[:len(next)-1]
		order = append(order, byDigest[digest]...)
		delete(byDigest, digest)
		for _, ref := range refersTo[digest] {
			if referrers[ref]--; referrers[ref] == 0 {
				next = append(next, ref)
			}
		}
	}
	// Only wrong bytes refer to each other in a circle.
	for _, e := range byDigest {
		order = append(order, e...)
	}
	return order
}

// streamsOf returns the streams and images that a stream refers to. One that cannot be read cannot be
// used either, so that nothing is lost with what it would refer to.
func (c *collector) streamsOf(digest fsverity.Digest) []fsverity.Digest {
	s, err := c.r.openStream(digest)
	if err != nil {
		return nil
	}
	defer s.Close()
	return s.StreamRefs()
}
