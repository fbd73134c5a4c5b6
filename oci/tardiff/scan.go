package tardiff

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
)

// newFile is the content of a regular file in the new tar.
type newFile struct {
	path   string // clean, relative to the root
	start  int64  // where it is in the tar
	size   int64  // more than 0
	digest [sha256.Size]byte
}

// newTarList is what is known of the new tar before the delta is written.
type newTarList struct {
	files  []newFile // in the order of the tar
	size   int64
	digest [sha256.Size]byte // of all of it
}

// scan reads the new tar for the first time.
func scan(ctx context.Context, newTar Tar, maxFiles int) (*newTarList, error) {
	r, err := newTar(ctx)
	if err != nil {
		return nil, fmt.Errorf("open tar: %w", err)
	}
	defer r.Close()
	in := &tarInput{ctx: ctx, r: r, hash: sha256.New()}
	list := &newTarList{}
	t := tar.NewReader(in)
	for {
		h, err := t.Next()
		if in.err != nil {
			return nil, in.err
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			break // the end, or what this reader does not understand; the rest is data
		}
		if h.Typeflag != tar.TypeReg || h.Size == 0 || isSparse(h) {
			continue
		}
		f := newFile{path: path.Clean("/" + h.Name)[1:], start: in.n, size: h.Size}
		content := sha256.New()
		if _, err := io.Copy(content, t); err != nil {
			break // cut short: what is there is data
		}
		content.Sum(f.digest[:0])
		if len(list.files) == maxFiles {
			return nil, fmt.Errorf("%w: more than %d files in the tar", ErrLimit, maxFiles)
		}
		list.files = append(list.files, f)
	}
	if _, err := io.Copy(io.Discard, in); in.err != nil || err != nil {
		return nil, errors.Join(in.err, err)
	}
	list.size = in.n
	in.hash.Sum(list.digest[:0])
	return list, nil
}

// isSparse says whether what the tar has is not the content.
func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if len(key) > 10 && key[:10] == "GNU.sparse" {
			return true
		}
	}
	return false
}

// tarInput counts and hashes what is read, and remembers why nothing more could be.
type tarInput struct {
	ctx  context.Context
	r    io.Reader
	hash hash.Hash
	n    int64
	err  error // other than io.EOF
}

func (t *tarInput) Read(p []byte) (int, error) {
	if t.err == nil {
		t.err = t.ctx.Err()
	}
	if t.err != nil {
		return 0, t.err
	}
	n, err := t.r.Read(p)
	t.hash.Write(p[:n])
	t.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		t.err = fmt.Errorf("read tar at byte %d: %w", t.n, err)
		return n, t.err
	}
	return n, err
}
