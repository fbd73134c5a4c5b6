package tardiff

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"
)

// source is what a file of the new tar is made of.
type source struct {
	old       *OldFile // nil: nothing of the old image
	identical bool
}

// minReuse is how many bytes a file must have more than its source's path to be worth an operation.
const minReuse = 16

// findSources chooses an old file for each file of the new tar.
func findSources(ctx context.Context, old OldFiles, list *newTarList, opts CreateOptions) ([]source, error) {
	files, err := listOld(ctx, old, opts.MaxFiles)
	if err != nil {
		return nil, err
	}
	byDigest, err := hashOld(ctx, old, files, list, opts.Jobs)
	if err != nil {
		return nil, err
	}
	similar := newSimilar(files)
	sources := make([]source, len(list.files))
	for i := range list.files {
		f := &list.files[i]
		same := byDigest[f.digest]
		switch at, has := similar.byPath(f.path); {
		case len(same) > 0 && has && slices.Contains(same, at):
			sources[i] = source{&files[at], true}
		case len(same) > 0:
			sources[i] = source{&files[same[0]], true}
		default:
			sources[i] = source{similar.find(f), false}
		}
		if s := sources[i].old; s != nil && f.size < int64(len(s.Path))+minReuse {
			sources[i] = source{}
		}
	}
	return sources, nil
}

// listOld returns the usable old files by path.
func listOld(ctx context.Context, old OldFiles, maxFiles int) ([]OldFile, error) {
	var files []OldFile
	for f, err := range old.Files() {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("list old files: %w", err)
		}
		if f.Size <= 0 || len(f.Path) > maxPath || !utf8.ValidString(f.Path) || strings.ContainsRune(f.Path, 0) ||
			f.Path == "" || path.Clean("/" + f.Path)[1:] != f.Path {
			continue
		}
		if len(files) == maxFiles {
			return nil, fmt.Errorf("%w: more than %d files in the old image", ErrLimit, maxFiles)
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b OldFile) int { return strings.Compare(a.Path, b.Path) })
	return files, nil
}

type contentDigest = [sha256.Size]byte

// hashOld finds the old files, by their places in files, whose contents are in the new tar.
func hashOld(ctx context.Context, old OldFiles, files []OldFile, list *newTarList, jobs int) (map[contentDigest][]int, error) {
	sizes := map[int64]bool{}
	wanted := map[contentDigest]bool{}
	for i := range list.files {
		sizes[list.files[i].size] = true
		wanted[list.files[i].digest] = true
	}
	type hashed struct {
		digest contentDigest
		ok     bool
	}
	digests := make([]hashed, len(files))
	next := make(chan int)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(next)
		for i := range files {
			if !sizes[files[i].Size] {
				continue
			}
			select {
			case next <- i:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range jobs {
		g.Go(func() error {
			h, buf := sha256.New(), make([]byte, chunk)
			for i := range next {
				h.Reset()
				if err := readOld(ctx, old, files[i].Path, func(r *io.SectionReader) error {
					_, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{r}, buf)
					return err
				}); err != nil {
					return err
				}
				h.Sum(digests[i].digest[:0])
				digests[i].ok = true
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	found := map[contentDigest][]int{}
	for i, d := range digests {
		if d.ok && wanted[d.digest] {
			found[d.digest] = append(found[d.digest], i)
		}
	}
	return found, nil
}

// readOld passes the content of an old file to a function.
func readOld(ctx context.Context, old OldFiles, path string, use func(*io.SectionReader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := old.Open(path)
	if err != nil {
		return fmt.Errorf("open old file %q: %w", path, err)
	}
	err = use(io.NewSectionReader(f, 0, f.Size()))
	if errClose := f.Close(); err == nil {
		err = errClose
	}
	if err != nil {
		return fmt.Errorf("read old file %q: %w", path, err)
	}
	return nil
}

// similar finds files that look like earlier versions of others.
type similar struct {
	files  []OldFile // by path
	plain  []keyed   // by the path without digits
	byName []keyed   // by the name without digits, then the path without digits
}

type keyed struct {
	name, path string // without digits
	index      int
}

func newSimilar(files []OldFile) *similar {
	s := &similar{files: files, plain: make([]keyed, len(files))}
	for i, f := range files {
		p := withoutDigits(f.Path)
		s.plain[i] = keyed{path.Base(p), p, i}
	}
	s.byName = slices.Clone(s.plain)
	slices.SortFunc(s.plain, func(a, b keyed) int {
		return cmp.Or(strings.Compare(a.path, b.path), cmp.Compare(a.index, b.index))
	})
	slices.SortFunc(s.byName, func(a, b keyed) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.path, b.path), cmp.Compare(a.index, b.index))
	})
	return s
}

// withoutDigits replaces each number in a path by one 0: what is left of a path when a version changes.
func withoutDigits(p string) string {
	var b strings.Builder
	digits := false
	for _, c := range []byte(p) {
		if c >= '0' && c <= '9' {
			if !digits {
				b.WriteByte('0')
			}
			digits = true
			continue
		}
		digits = false
		b.WriteByte(c)
	}
	return b.String()
}

func (s *similar) byPath(p string) (int, bool) {
	return slices.BinarySearchFunc(s.files, p, func(f OldFile, p string) int { return strings.Compare(f.Path, p) })
}

// neighbours is how many files of the same name are looked at on either side of where a path would stand: those beside it
// have the most of the path in common.
const neighbours = 16

// find returns the old file to compare a new one with, or nil.
func (s *similar) find(f *newFile) *OldFile {
	if i, ok := s.byPath(f.path); ok {
		return &s.files[i]
	}
	plain := withoutDigits(f.path)
	name := path.Base(plain)
	at, _ := slices.BinarySearchFunc(s.plain, plain, func(k keyed, p string) int { return strings.Compare(k.path, p) })
	var best *OldFile
	for _, k := range s.plain[at:min(at+neighbours, len(s.plain))] {
		if k.path == plain {
			best = nearest(best, &s.files[k.index], f.size)
		}
	}
	if best != nil {
		return best
	}
	at, _ = slices.BinarySearchFunc(s.byName, plain, func(k keyed, p string) int {
		return cmp.Or(strings.Compare(k.name, name), strings.Compare(k.path, p))
	})
	common := -1
	for _, k := range s.byName[max(0, at-neighbours):min(at+neighbours, len(s.byName))] {
		if k.name != name {
			continue
		}
		switch n := commonPrefix(k.path, plain); {
		case n > common:
			best, common = &s.files[k.index], n
		case n == common:
			best = nearest(best, &s.files[k.index], f.size)
		}
	}
	return best
}

// nearest returns the file whose size is nearer; of equals the first.
func nearest(a, b *OldFile, size int64) *OldFile {
	if a != nil && distance(a.Size, size) <= distance(b.Size, size) {
		return a
	}
	return b
}

func distance(a, b int64) int64 { return max(a-b, b-a) }

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
