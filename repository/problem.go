package repository

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// ProblemKind tells problems apart. The strings are stable.
type ProblemKind string

// The kinds.
const (
	ProblemMeta       ProblemKind = "meta"           // meta.json
	ProblemObject     ProblemKind = "object-corrupt" // an object that is not what its name says, or cannot be read
	ProblemMissing    ProblemKind = "object-missing" // an object that something needs
	ProblemVerity     ProblemKind = "verity-missing" // a good object without the fs-verity that all must have
	ProblemImage      ProblemKind = "image"          // an image that is not sound
	ProblemStream     ProblemKind = "stream"         // a stream that is not sound
	ProblemLink       ProblemKind = "link"           // an entry or ref that leads to nothing, or to the wrong thing
	ProblemForeign    ProblemKind = "foreign"        // something that does not belong where it is
	ProblemStore      ProblemKind = "store-missing"  // another store that is not there
	ProblemLease      ProblemKind = "lease"          // a lease that cannot be read
	ProblemCache      ProblemKind = "cache"          // the cache of unchanged files
	ProblemState      ProblemKind = "check-state"    // what an interrupted check has left
	ProblemQuarantine ProblemKind = "quarantined"    // something that a repair took out of use; a note
)

// Problem is one thing that is wrong with a repository.
type Problem struct {
	Kind     ProblemKind
	Path     string          // in the repository
	Object   fsverity.Digest // that is concerned, or zero
	Detail   string          // a sentence for people
	NeededBy []Needer        // who needs the object
	Note     bool            // this makes the repository no worse

	// What [Repository.Repair] has done about it: how it was mended, or where in the
	// repository it is now. Both are empty if nothing was done.
	Mended      string
	Quarantined string

	size      int64 // of the object as images have it; not more than 0 if that is not known
	malformed bool  // a link that can mean nothing
}

// Solved says whether nothing is wrong any more: it was mended, or what nobody needs was put away.
func (p *Problem) Solved() bool {
	return p.Mended != "" || p.Quarantined != "" && len(p.NeededBy) == 0
}

// Needer is an image or stream that needs an object.
type Needer struct {
	Image  fsverity.Digest // or zero
	Stream string          // or empty
	Names  []string        // sorted; of the image or stream
	// Paths are the files of an image whose content the object is, of a [Problem] not more than
	// 100; none if the object is the image or stream itself.
	Paths []string
	More  int // how many paths there are besides
}

// maxPaths bounds how many paths of an image a problem names.
const maxPaths = 100

// nameNeeders says of each object with a problem who needs it.
func (c *checker) nameNeeders(ctx context.Context) error {
	if len(c.bad) == 0 {
		return nil
	}
	return c.r.needers(ctx, c.bad, maxPaths, func(digest fsverity.Digest, n Needer) {
		p := &c.result.Problems[c.bad[digest]]
		p.NeededBy = append(p.NeededBy, n)
	})
}

// NeededBy returns who needs an object: images, with all paths of files whose content it is, and
// streams. Images and streams that cannot be read are passed over.
func (r *Repository) NeededBy(ctx context.Context, digest fsverity.Digest) ([]Needer, error) {
	var list []Needer
	err := r.needers(ctx, map[fsverity.Digest]int{digest: 0}, math.MaxInt, func(_ fsverity.Digest, n Needer) {
		list = append(list, n)
	})
	return list, err
}

// needers finds who needs objects: the keys of a map. Of each image not more than most paths are named
// for an object.
func (r *Repository) needers(ctx context.Context, wanted map[fsverity.Digest]int, most int, each func(fsverity.Digest, Needer)) error {
	images, err := r.Images()
	if err != nil {
		return err
	}
	for _, info := range images {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, ok := wanted[info.Digest]; ok {
			each(info.Digest, Needer{Image: info.Digest, Names: info.Refs})
		}
		if info.Err == nil {
			r.neededBy(info, wanted, most, each)
		}
	}
	streams, err := r.Streams()
	if err != nil {
		return err
	}
	for _, info := range streams {
		needer := Needer{Stream: info.ID, Names: info.Refs}
		if _, ok := wanted[info.Digest]; ok {
			each(info.Digest, needer)
		}
		s, err := r.openStream(info.Digest)
		if err != nil {
			continue
		}
		for digest := range s.References() {
			if _, ok := wanted[digest]; ok {
				each(digest, needer)
			}
		}
		_ = s.Close() // it was only read
	}
	return nil
}

// neededBy finds the files of an image.
func (r *Repository) neededBy(info ImageInfo, wanted map[fsverity.Digest]int, most int, each func(fsverity.Digest, Needer)) {
	img, err := r.openUnverified(info.Digest)
	if err != nil {
		return
	}
	defer img.Close()
	root, err := img.Tree(erofs.TreeOptions{MetadataOnly: true})
	if err != nil {
		return
	}
	found := map[fsverity.Digest]*Needer{}
	for path, e := range tree.Walk(root) {
		ref, ok, err := objectOf(e.Inode)
		if _, want := wanted[ref.Digest]; !ok || err != nil || !want {
			continue
		}
		n := found[ref.Digest]
		if n == nil {
			n = &Needer{Image: info.Digest, Names: info.Refs}
			found[ref.Digest] = n
		}
		if len(n.Paths) < most {
			n.Paths = append(n.Paths, string(path))
		} else {
			n.More++
		}
	}
	digests := make([]fsverity.Digest, 0, len(found))
	for digest := range found {
		digests = append(digests, digest)
	}
	slices.SortFunc(digests, func(a, b fsverity.Digest) int { return cmp.Compare(found[a].Paths[0], found[b].Paths[0]) })
	for _, digest := range digests {
		each(digest, *found[digest])
	}
}
