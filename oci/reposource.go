package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/oci/manifest"
	"github.com/go-composefs/composefs/oci/transport"
	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/splitstream"
)

// repositorySource is an image of a repository as a source: pulling from it is copying. Layers come as
// files, so that repositories of one filesystem can share blocks.
type repositorySource struct {
	r    *repository.Repository
	name string
}

// NewSource returns an image of a repository, named as [Open] takes it, as a source to pull from. The
// repository stays the caller's.
func NewSource(r *repository.Repository, name string) transport.Source {
	return &repositorySource{r, name}
}

var _ SegmentSource = (*repositorySource)(nil)

func (s *repositorySource) Close() error { return nil }

func (s *repositorySource) Head(context.Context) (ocispec.Descriptor, bool, error) {
	return ocispec.Descriptor{}, false, nil
}

// Manifest returns the index that a tag was pulled from, if there is one.
func (s *repositorySource) Manifest(ctx context.Context, d digest.Digest) (transport.Manifest, error) {
	if d != "" {
		return s.read(ctx, d)
	}
	if id, err := s.r.ResolveStream("refs/" + indexRef(s.name)); err == nil {
		d, err := digestIn(id, indexPrefix)
		if err != nil {
			return transport.Manifest{}, err
		}
		return s.read(ctx, d)
	}
	id, err := resolve(s.r, s.name)
	if err != nil {
		return transport.Manifest{}, err
	}
	if d, err = digestIn(id, manifestPrefix); err != nil {
		return transport.Manifest{}, err
	}
	return s.read(ctx, d)
}

func (s *repositorySource) read(ctx context.Context, d digest.Digest) (transport.Manifest, error) {
	raw, _, err := readDocument(ctx, repositoryStreams{s.r}, manifestID(d), splitstream.Manifest, d)
	if errors.Is(err, ErrNotFound) {
		raw, _, err = readDocument(ctx, repositoryStreams{s.r}, indexID(d), splitstream.Index, d)
	}
	if err != nil {
		return transport.Manifest{}, err
	}
	m, err := transport.NewManifest(raw)
	m.Digest = d
	return m, err
}

// Blob opens a config, or a layer that is no tar: of others there are only the tars.
func (s *repositorySource) Blob(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	for _, id := range []string{configID(desc.Digest), layerID(desc.Digest)} {
		stream, err := s.r.OpenStream(id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r, w := io.Pipe()
		go func() {
			_, err := stream.Copy(ctx, w)
			w.CloseWithError(errors.Join(err, stream.Close()))
		}()
		return r, nil
	}
	return nil, fmt.Errorf("blob %s: %w", desc.Digest, ErrNotFound)
}

// BlobFrom is Blob without the beginning.
func (s *repositorySource) BlobFrom(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	r, err := s.Blob(ctx, desc)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, r, offset); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Reject knows nobody else to ask.
func (s *repositorySource) Reject(digest.Digest) bool { return false }

// Referrers returns the manifests about an image that are kept with it.
func (s *repositorySource) Referrers(ctx context.Context, subject digest.Digest, artifactType string) ([]ocispec.Descriptor, error) {
	img, err := load(ctx, repositoryStreams{s.r}, manifestID(subject))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []ocispec.Descriptor
	for _, d := range img.Referrers() {
		m, err := s.read(ctx, d)
		if err != nil {
			return nil, err
		}
		desc, err := manifest.Referrer(m.Raw)
		if err != nil {
			return nil, err
		}
		if artifactType == "" || desc.ArtifactType == artifactType {
			list = append(list, desc)
		}
	}
	return list, nil
}

// Tags returns the tags of the repository.
func (s *repositorySource) Tags(ctx context.Context) ([]string, error) {
	list, err := List(ctx, s.r)
	var tags []string
	for _, t := range list {
		tags = append(tags, t.Tags...)
	}
	return tags, err
}

// Segments returns the tar of a layer.
func (s *repositorySource) Segments(ctx context.Context, diffID digest.Digest) iter.Seq2[Segment, error] {
	return func(yield func(Segment, error) bool) {
		stream, err := s.r.OpenStream(layerID(diffID))
		if err != nil {
			yield(Segment{}, err)
			return
		}
		defer stream.Close()
		for chunk, err := range stream.Chunks() {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Segment{}, err)
				return
			}
			one := Segment{Data: bytes.Clone(chunk.Inline)}
			if len(chunk.Inline) == 0 {
				one, err = s.file(chunk)
			}
			if !yield(one, err) || err != nil {
				return
			}
		}
	}
}

// file is an external chunk.
func (s *repositorySource) file(chunk splitstream.Chunk) (Segment, error) {
	f, err := s.r.OpenObject(chunk.Object)
	if err != nil {
		return Segment{}, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() <= layer.External {
		err = fmt.Errorf("%w: an external file of %d bytes", ErrCorrupt, info.Size())
	}
	if err != nil {
		return Segment{}, errors.Join(err, f.Close())
	}
	return Segment{File: f, Size: info.Size()}, nil
}
