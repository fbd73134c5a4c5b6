package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/splitstream"
)

// StreamInfo is a stream of the repository.
type StreamInfo struct {
	ID     string
	Digest fsverity.Digest // of its object
	Refs   []string        // its names, sorted
	Err    error           // why it is of no use
}

// Streams returns all streams, by their ids.
func (r *Repository) Streams() ([]StreamInfo, error) {
	l := r.streams()
	refs, err := l.refs()
	if err != nil {
		return nil, err
	}
	entries, err := l.entries()
	if err != nil {
		return nil, err
	}
	byID := map[string]int{}
	var list []StreamInfo
	for _, e := range entries {
		byID[e.name] = len(list)
		list = append(list, StreamInfo{ID: e.name, Digest: e.digest, Err: e.err})
	}
	for _, ref := range refs {
		i, ok := byID[ref.target]
		if !ok || ref.err != nil {
			err := ref.err
			if err == nil {
				err = fmt.Errorf("%w: streams/%s is missing", ErrCorrupt, ref.target)
			}
			list = append(list, StreamInfo{ID: ref.target, Refs: []string{ref.name}, Err: err})
			continue
		}
		list[i].Refs = append(list[i].Refs, ref.name)
	}
	return list, nil
}

// ResolveStream returns the id of a stream: of a ref, with "refs/" before it, or of the id itself.
func (r *Repository) ResolveStream(name string) (string, error) {
	if ref, ok := strings.CutPrefix(name, refsDir+"/"); ok {
		return r.streams().ref(ref)
	}
	if _, err := r.streams().entry(name); err != nil {
		return "", err
	}
	return name, nil
}

// Stream is an open stream.
type Stream struct {
	*splitstream.Reader
	ID     string
	Digest fsverity.Digest
	r      *Repository
	file   *os.File
}

// OpenStream opens a stream by a name as [Repository.ResolveStream] knows it. Close it after use.
func (r *Repository) OpenStream(name string) (*Stream, error) {
	id, err := r.ResolveStream(name)
	if err != nil {
		return nil, err
	}
	digest, err := r.streams().entry(id)
	if err != nil {
		return nil, err
	}
	s, err := r.openStream(digest)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", name, err)
	}
	s.ID = id
	return s, nil
}

func (r *Repository) openStream(digest fsverity.Digest) (*Stream, error) {
	f, err := r.OpenObject(digest)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	reader, err := splitstream.Open(f, info.Size(), splitstream.ReaderOptions{Algorithm: r.meta.Algorithm})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Stream{Reader: reader, Digest: digest, r: r, file: f}, nil
}

// Close closes the stream.
func (s *Stream) Close() error { return s.file.Close() }

// Copy writes the content, put together again, to w.
func (s *Stream) Copy(ctx context.Context, w io.Writer) (int64, error) {
	return s.WriteTo(contextWriter{ctx, w}, func(digest fsverity.Digest) (io.ReadCloser, error) {
		return s.r.OpenObject(digest)
	})
}

// contextWriter ends a long copy when the context does.
type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (w contextWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}
