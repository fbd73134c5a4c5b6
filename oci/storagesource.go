package oci

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/containersstorage"
	"github.com/go-composefs/composefs/oci/transport"
)

// OpenSource opens the image that a reference names, also one of podman's storage. Close it after use.
func OpenSource(ctx context.Context, ref transport.Reference, opts transport.Options) (transport.Source, error) {
	if ref.Transport() != transport.ContainersStorage {
		return transport.OpenSource(ctx, ref, opts)
	}
	img, err := containersstorage.Open(ctx, ref.Name(), containersstorage.Options{})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", ref, err)
	}
	return &storageSource{img}, nil
}

// storageSource is an image that podman has. It keeps layers unpacked, so that they come as files.
type storageSource struct{ img *containersstorage.Image }

var _ SegmentSource = (*storageSource)(nil)

func (s *storageSource) Close() error { return s.img.Close() }

func (s *storageSource) Head(context.Context) (ocispec.Descriptor, bool, error) {
	return ocispec.Descriptor{}, false, nil
}

// Manifest returns the only one that there is: podman keeps no indexes.
func (s *storageSource) Manifest(_ context.Context, d digest.Digest) (transport.Manifest, error) {
	raw, mediaType := s.img.Manifest()
	m := transport.Manifest{Raw: raw, MediaType: mediaType, Digest: digest.FromBytes(raw)}
	if d != "" && d != m.Digest {
		return transport.Manifest{}, fmt.Errorf("manifest %s: %w", d, ErrNotFound)
	}
	return m, nil
}

// Blob opens the config: of layers there are only the tars.
func (s *storageSource) Blob(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if config := s.img.Config(); desc.Digest.Algorithm().FromBytes(config) == desc.Digest {
		return io.NopCloser(bytes.NewReader(config)), nil
	}
	return nil, fmt.Errorf("blob %s: %w", desc.Digest, ErrNotFound)
}

// BlobFrom is Blob without the beginning.
func (s *storageSource) BlobFrom(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	r, err := s.Blob(ctx, desc)
	if err == nil {
		_, err = io.CopyN(io.Discard, r, offset)
	}
	return r, err
}

// Reject knows nobody else to ask.
func (s *storageSource) Reject(digest.Digest) bool { return false }

// Referrers returns nothing: podman keeps none.
func (s *storageSource) Referrers(context.Context, digest.Digest, string) ([]ocispec.Descriptor, error) {
	return nil, nil
}

// Tags returns nothing: names are podman's.
func (s *storageSource) Tags(context.Context) ([]string, error) { return nil, nil }

// Segments returns the tar of a layer.
func (s *storageSource) Segments(ctx context.Context, diffID digest.Digest) iter.Seq2[Segment, error] {
	for _, l := range s.img.Layers() {
		if l.DiffID == diffID {
			return segmentsOf(ctx, l)
		}
	}
	return func(yield func(Segment, error) bool) {
		yield(Segment{}, fmt.Errorf("layer %s: %w", diffID, ErrNotFound))
	}
}

// segmentsOf passes the segments on.
func segmentsOf(ctx context.Context, l *containersstorage.Layer) iter.Seq2[Segment, error] {
	return func(yield func(Segment, error) bool) {
		for s, err := range l.Segments(ctx) {
			one := Segment{Data: s.Data}
			if s.File != nil {
				one = Segment{File: s.File, Size: s.Size, Content: s.Content()}
			}
			if !yield(one, err) || err != nil {
				return
			}
		}
	}
}
