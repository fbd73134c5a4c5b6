package erofs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"sync"

	"github.com/go-composefs/composefs/fsverity"
)

// externalFile is a file whose content is in the store.
type externalFile struct {
	at     int
	size   uint64
	digest fsverity.Digest
	name   string // in the store
}

// objectProblem is what is wrong with the object of a file; its kind is empty if nothing is.
type objectProblem struct {
	file   externalFile
	kind   ProblemKind
	detail string
}

// objects looks at each object that the image refers to once, several at a time.
func (c *checker) objects() {
	if c.done {
		return
	}
	jobs := c.opts.Jobs
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	work, stop := make(chan externalFile), make(chan struct{})
	found := make(chan objectProblem)
	go func() {
		defer close(work)
		seen := map[externalFile]struct{}{}
		for _, f := range c.external {
			object := f
			object.at = 0
			if _, ok := seen[object]; ok {
				continue
			}
			seen[object] = struct{}{}
			select {
			case work <- f:
			case <-stop:
				return
			}
		}
	}()
	var workers sync.WaitGroup
	for range jobs {
		workers.Go(func() {
			for f := range work {
				p := c.object(f)
				if p.kind == "" {
					continue
				}
				select {
				case found <- p:
				case <-stop:
				}
			}
		})
	}
	go func() {
		workers.Wait()
		close(found)
	}()
	stopped := false
	for p := range found {
		if !c.done {
			c.report(p.kind, p.file.at, noOffset, "%s", p.detail)
		}
		if c.done && !stopped {
			stopped = true
			close(stop)
		}
	}
}

// object looks at one object. It runs beside others and touches nothing of c that changes.
func (c *checker) object(f externalFile) objectProblem {
	p := objectProblem{file: f}
	p.kind, p.detail = c.compareObject(f)
	if p.kind != "" {
		p.detail = fmt.Sprintf("object %s: %s", f.name, p.detail)
	}
	return p
}

func (c *checker) compareObject(f externalFile) (kind ProblemKind, detail string) {
	if !c.opts.Verify {
		info, err := fs.Stat(c.opts.Objects, f.name)
		if err != nil {
			return objectError(err)
		}
		return compareObjectSize(f, info)
	}
	object, err := c.opts.Objects.Open(f.name)
	if err != nil {
		return objectError(err)
	}
	defer object.Close()
	info, err := object.Stat()
	if err != nil {
		return objectError(err)
	}
	if kind, detail := compareObjectSize(f, info); kind != "" || f.digest.IsZero() {
		return kind, detail
	}
	got, err := contentDigest(c.opts.Algorithm, f.digest, object)
	if err != nil {
		return objectError(err)
	}
	if got != f.digest {
		return ProblemDigest, fmt.Sprintf("its digest is %s, not %s", got, f.digest)
	}
	return "", ""
}

func objectError(err error) (kind ProblemKind, detail string) {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err // the caller names the object
	}
	if errors.Is(err, fs.ErrNotExist) {
		return ProblemObject, "it is not in the store"
	}
	return ProblemRead, err.Error()
}

func compareObjectSize(f externalFile, info fs.FileInfo) (kind ProblemKind, detail string) {
	switch {
	case !info.Mode().IsRegular():
		return ProblemObject, fmt.Sprintf("it is no file: its mode is %s", info.Mode())
	case uint64(info.Size()) != f.size:
		return ProblemObjectSize, fmt.Sprintf("it has %d bytes, not %d", info.Size(), f.size)
	}
	return "", ""
}

// contentDigest reads content and returns its fs-verity digest, made as another one was.
func contentDigest(alg fsverity.Algorithm, like fsverity.Digest, content io.Reader) (fsverity.Digest, error) {
	if alg == (fsverity.Algorithm{}) {
		alg = fsverity.Algorithm{Hash: like.Hash(), BlockBits: fsverity.SHA256.BlockBits}
	}
	h, err := fsverity.NewHasher(fsverity.Options{Algorithm: alg})
	if err != nil {
		return fsverity.Digest{}, err
	}
	if _, err := io.Copy(h, content); err != nil {
		return fsverity.Digest{}, err
	}
	return h.Digest(), nil
}
