package main

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/bytesize"
	"github.com/go-composefs/composefs/objects"
	"github.com/go-composefs/composefs/tree"
)

// contentsJSON counts what an image holds.
type contentsJSON struct {
	Entries int         `json:"entries"`
	Files   int         `json:"files"`
	Bytes   uint64      `json:"bytes"`
	Objects objectsJSON `json:"objects"`
}

type objectsJSON struct {
	Count    int    `json:"count"`
	Bytes    uint64 `json:"bytes"`
	New      *int   `json:"new,omitempty"`
	NewBytes *int64 `json:"new_bytes,omitempty"`
}

// countContents counts what a tree holds, and what of it was new in a store, if there is one.
func countContents(root *tree.Inode, stored *countingSink) contentsJSON {
	var j contentsJSON
	sizes := map[fsverity.Digest]uint64{}
	for _, e := range tree.Walk(root) {
		n := e.Inode
		if e.Name != "" {
			j.Entries++
		}
		if e.Link || !n.IsRegular() {
			continue
		}
		j.Files++
		j.Bytes += n.Size
		if n.IsExternal() && !n.Digest.IsZero() {
			sizes[n.Digest] = n.Size
		}
	}
	j.Objects.Count = len(sizes)
	for _, size := range sizes {
		j.Objects.Bytes += size
	}
	if stored != nil {
		count, bytes := len(stored.added), int64(0)
		for _, size := range stored.added {
			bytes += size
		}
		j.Objects.New, j.Objects.NewBytes = &count, &bytes
	}
	return j
}

// text says it in a line, with the size of the image itself.
func (j contentsJSON) text(image int64) string {
	text := fmt.Sprintf("%s, %s; image %s", counted(j.Files, "file"), bytesize.String(int64(j.Bytes)), bytesize.String(image))
	if j.Objects.New != nil {
		text += fmt.Sprintf("; %s, %d of them new, %s", counted(j.Objects.Count, "object"), *j.Objects.New, bytesize.String(*j.Objects.NewBytes))
	}
	return text
}

// countingSink puts files into a store and remembers what was new there.
type countingSink struct {
	dir *objects.Dir

	mu    sync.Mutex
	added map[fsverity.Digest]int64 // sizes
}

func newCountingSink(dir *objects.Dir) *countingSink {
	return &countingSink{dir: dir, added: map[fsverity.Digest]int64{}}
}

// Put implements [tree.ObjectSink].
func (s *countingSink) Put(ctx context.Context, f *os.File, size int64) (fsverity.Digest, error) {
	stored, err := s.dir.Put(ctx, f, size)
	s.count(stored, size, err)
	return stored.Digest, err
}

// count remembers what Put did.
func (s *countingSink) count(stored objects.Stored, size int64, err error) {
	if err == nil && !stored.Existing {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.added[stored.Digest] = size
	}
}
