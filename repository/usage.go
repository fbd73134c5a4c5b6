package repository

import (
	"context"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// Usage is what a repository holds. All figures are bytes of content, unless they say otherwise.
type Usage struct {
	Images []ImageUsage // as [Repository.Images] orders them
	// Shared says for two images, by their indexes, what the objects hold that both need; for
	// one and the same it is what all its objects hold.
	Shared [][]int64

	Files   int64 // of all images together, as if nothing were shared
	Stored  int64 // of all objects in the repository, each once; images and streams are objects too
	Objects int   // how many these are
	// Elsewhere is what images and streams need and only other stores have.
	Elsewhere int64
	Streams   int   // how many there are
	InStreams int64 // objects that streams need, and streams themselves, but no image needs
	// Unneeded is what neither images nor streams need: the next collection removes it, unless
	// leases keep it.
	Unneeded int64

	counter *counter
}

// Sharing returns how many images need an object. It is safe for concurrent use.
func (u *Usage) Sharing(digest fsverity.Digest) int {
	c := u.counter
	i := c.set.find(digest)
	if i < 0 {
		var ok bool
		if i, ok = c.others[digest]; !ok {
			return 0
		}
	}
	_, count := soleUser(c.users[i*c.words : (i+1)*c.words])
	return count
}

// ImageUsage is what one image holds.
type ImageUsage struct {
	ImageInfo
	Files   int64 // of its regular files, each once if it has several names
	Image   int64 // of the image itself
	Objects int   // how many different objects it needs, itself not counted
	Stored  int64 // of these objects
	// Exclusive is the image itself and the objects that no other image needs: what would go with
	// it.
	Exclusive int64
	// InStreams is what of Exclusive streams need as well: it stays as long as they do.
	InStreams int64
}

// Usage finds out what the repository holds. Images that are of no use count as empty.
func (r *Repository) Usage(ctx context.Context) (*Usage, error) {
	images, err := r.Images()
	if err != nil {
		return nil, err
	}
	set, err := listObjects(r.objects, r.meta.Algorithm, nil)
	if err != nil {
		return nil, err
	}
	c := &counter{r: r, set: set, words: (len(images) + 63) / 64, others: map[fsverity.Digest]int{}}
	c.grow(set.count())
	u := &Usage{Images: make([]ImageUsage, len(images)), Objects: set.count(), counter: c}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(min(4, runtime.GOMAXPROCS(0)))
	for i, info := range images {
		u.Images[i].ImageInfo = info
		g.Go(func() error { return c.countImage(gctx, i, &u.Images[i]) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := c.countStreams(ctx, u); err != nil {
		return nil, err
	}
	return u, c.sum(u)
}

// counter notes of each object which images need it.
type counter struct {
	r     *Repository
	set   *objectSet
	words int // of 64 bits, one for each image

	mu     sync.Mutex
	others map[fsverity.Digest]int // places of objects that only other stores have, after those of set
	users  []uint64                // words for each object
	sizes  []int64                 // bytes plus one; 0 if not known
	stream []bool                  // a stream needs it, or it is one
	image  []bool                  // it is an image
}

func (c *counter) grow(n int) {
	c.users = append(c.users, make([]uint64, n*c.words)...)
	c.sizes = append(c.sizes, make([]int64, n)...)
	c.stream = append(c.stream, make([]bool, n)...)
	c.image = append(c.image, make([]bool, n)...)
}

// place returns the place of an object. The caller holds mu.
func (c *counter) place(digest fsverity.Digest) int {
	if i := c.set.find(digest); i >= 0 {
		return i
	}
	i, ok := c.others[digest]
	if !ok {
		i = len(c.sizes)
		c.others[digest] = i
		c.grow(1)
	}
	return i
}

func (c *counter) countImage(ctx context.Context, n int, u *ImageUsage) error {
	if err := ctx.Err(); err != nil || u.Err != nil {
		return err
	}
	img, err := c.r.openUnverified(u.Digest)
	if err == nil {
		defer img.Close()
		var root *tree.Inode
		if root, err = img.Tree(erofs.TreeOptions{MetadataOnly: true}); err == nil {
			u.Image = img.Size()
			c.countTree(n, u, root)
		}
	}
	u.Err = err
	return nil
}

// countTree counts the files of an image.
func (c *counter) countTree(n int, u *ImageUsage, root *tree.Inode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	own := c.place(u.Digest)
	c.image[own] = true
	c.sizes[own] = u.Image + 1
	for _, e := range tree.Walk(root) {
		if e.Link || !e.Inode.IsRegular() {
			continue
		}
		u.Files += int64(e.Inode.Size)
		ref, ok, err := objectOf(e.Inode)
		if !ok || err != nil {
			continue
		}
		i := c.place(ref.Digest)
		c.sizes[i] = ref.Size + 1
		word, bit := &c.users[i*c.words+n/64], uint64(1)<<(n%64)
		if *word&bit == 0 {
			*word |= bit
			u.Objects++
			u.Stored += ref.Size
		}
	}
}

func (c *counter) countStreams(ctx context.Context, u *Usage) error {
	streams, err := c.r.Streams()
	if err != nil {
		return err
	}
	u.Streams = len(streams)
	for _, info := range streams {
		if err := ctx.Err(); err != nil {
			return err
		}
		s, err := c.r.openStream(info.Digest)
		if err != nil {
			continue // it is of no use
		}
		c.stream[c.place(info.Digest)] = true
		for digest := range s.References() {
			c.stream[c.place(digest)] = true
		}
		_ = s.Close() // it was only read
	}
	for digest, i := range c.others {
		if info, err := c.r.StatObject(digest); c.sizes[i] == 0 && err == nil {
			c.sizes[i] = info.Size() + 1
		}
	}
	return nil
}

// sum sums up. Objects that the same images need are summed up together.
func (c *counter) sum(u *Usage) error {
	groups := map[string]int64{}
	key := make([]byte, 8*c.words)
	for i := range c.sizes {
		if c.sizes[i] == 0 {
			size, err := c.r.objects.Size(c.set.digest(i))
			if gone(err) {
				continue // collected meanwhile
			}
			if err != nil {
				return err
			}
			c.sizes[i] = size + 1
		}
		size := c.sizes[i] - 1
		if i < c.set.count() {
			u.Stored += size
		} else {
			u.Elsewhere += size
		}
		users := c.users[i*c.words : (i+1)*c.words]
		only, count := soleUser(users)
		switch {
		case count > 0:
			groups[string(appendWords(key[:0], users))] += size
		case c.stream[i]:
			u.InStreams += size
		case !c.image[i]:
			u.Unneeded += size
		}
		if count == 1 {
			u.Images[only].Exclusive += size
			if c.stream[i] {
				u.Images[only].InStreams += size
			}
		}
	}
	u.Shared = make([][]int64, len(u.Images))
	for i := range u.Images {
		u.Shared[i] = make([]int64, len(u.Images))
		u.Images[i].Exclusive += u.Images[i].Image
		u.Files += u.Images[i].Files
	}
	for users, size := range groups {
		list := usersOf(users)
		for _, a := range list {
			for _, b := range list {
				u.Shared[a][b] += size
			}
		}
	}
	return nil
}
