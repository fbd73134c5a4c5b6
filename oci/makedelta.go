package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/compress"
	"github.com/go-composefs/composefs/oci/tardiff"
	"github.com/go-composefs/composefs/oci/transport"
	"github.com/go-composefs/composefs/repository"
)

// DeltaOptions say how a delta is made.
type DeltaOptions struct {
	Level    int      // of zstd, 1 to 22; 0 means 19
	Progress Progress // nil: nobody is told
	// Scratch is a directory for the deltas while they are made; empty means the system's own.
	Scratch string
}

// Delta is what MakeDelta made.
type Delta struct {
	Manifest transport.Manifest // of the delta
	Layers   int                // that it brings
	Reused   int                // that the old image has
	Whole    int                // of Layers: those that no delta makes smaller
	Bytes    int64              // of the blobs
	Original int64              // bytes of the layers' blobs in a registry
}

// MakeDelta gives a destination what makes one image of another: for each layer that the old image does not have
// the difference to the old image's files, or the layer itself if that is smaller. Both images are named as [Open]
// takes them.
func MakeDelta(ctx context.Context, r *repository.Repository, older, newer string, to transport.Destination, opts DeltaOptions) (*Delta, error) {
	opts.Progress = progressOf(opts.Progress)
	from, err := Open(ctx, r, older)
	if err != nil {
		return nil, err
	}
	target, err := Open(ctx, r, newer)
	if err != nil {
		return nil, err
	}
	if from.Artifact || target.Artifact {
		return nil, ErrArtifact
	}
	root, err := flattened(ctx, repositoryStreams{r}, digestOnly{r.Algorithm()}, from, PullOptions{Transform: TransformCanonical})
	if err != nil {
		return nil, err
	}
	m := &deltaMaker{r: r, to: to, opts: opts, old: treeFiles{root, repositoryStreams{r}}}
	m.artifact = tardiff.Artifact{
		SourceConfig: from.Manifest.Config.Digest, Source: from.Digest,
		Manifest: ocispec.Descriptor{MediaType: target.MediaType, Digest: target.Digest, Size: int64(len(target.RawManifest))},
		Config:   target.Manifest.Config,
	}
	if err := m.make(ctx, from, target); err != nil {
		return nil, fmt.Errorf("make delta of %s to %s: %w", older, newer, err)
	}
	return &m.delta, nil
}

// deltaMaker makes one delta.
type deltaMaker struct {
	r        *repository.Repository
	to       transport.Destination
	opts     DeltaOptions
	old      treeFiles
	artifact tardiff.Artifact
	delta    Delta
}

func (m *deltaMaker) make(ctx context.Context, from, target *Image) error {
	has := map[digest.Digest]bool{}
	for _, l := range from.Layers {
		has[l.DiffID] = true
	}
	for _, l := range target.Layers {
		if has[l.DiffID] {
			m.artifact.Reused = append(m.artifact.Reused, tardiff.ReusedLayer{Blob: l.Digest, DiffID: l.DiffID})
			m.delta.Reused++
			continue
		}
		has[l.DiffID] = true
		if err := m.layer(ctx, l); err != nil {
			return fmt.Errorf("layer %s: %w", l.Digest, err)
		}
	}
	for _, b := range []struct {
		desc ocispec.Descriptor
		data []byte
	}{
		{m.artifact.Manifest, target.RawManifest},
		{m.artifact.Config, target.RawConfig},
		{ocispec.DescriptorEmptyJSON, tardiff.EmptyConfig},
	} {
		b.desc.Data = nil
		if _, err := m.to.PutBlob(ctx, b.desc, bytes.NewReader(b.data)); err != nil {
			return err
		}
	}
	raw, err := m.artifact.Marshal()
	if err != nil {
		return err
	}
	if m.delta.Manifest, err = transport.NewManifest(raw); err != nil {
		return err
	}
	if err := m.to.PutManifest(ctx, m.delta.Manifest, true); err != nil {
		return err
	}
	return m.to.Commit(ctx)
}

// layer puts a delta that makes a layer, or the layer compressed if that has fewer bytes.
func (m *deltaMaker) layer(ctx context.Context, l Layer) error {
	m.opts.Progress.Begin(l.Digest, l.Size)
	f, err := m.scratch()
	if err != nil {
		return err
	}
	defer f.Close()
	tar := func(ctx context.Context) (io.ReadCloser, error) {
		s, err := m.r.OpenStream(l.Stream)
		if err != nil {
			return nil, err
		}
		r, w := io.Pipe()
		go func() {
			_, err := s.Copy(ctx, w)
			w.CloseWithError(errors.Join(err, s.Close()))
		}()
		return r, nil
	}
	stats, err := tardiff.Create(ctx, m.old, tar, f, tardiff.CreateOptions{Level: m.opts.Level})
	if err != nil {
		return err
	}
	blob := ocispec.Descriptor{MediaType: tardiff.MediaType, Size: transport.UnknownSize}
	if stats.DeltaSize >= l.Size {
		// Compressed anew it is about as large as it was.
		if err := m.whole(ctx, tar, f); err != nil {
			return err
		}
		blob.MediaType = CompressionZstd.mediaType(l.MediaType)
		m.delta.Whole++
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	put, err := m.to.PutBlob(ctx, blob, f)
	if err != nil {
		return err
	}
	blob.Digest, blob.Size = put.Digest, put.Size
	m.artifact.Layers = append(m.artifact.Layers, tardiff.ArtifactLayer{To: l.Digest, Blob: blob})
	m.delta.Layers++
	m.delta.Bytes += blob.Size
	m.delta.Original += l.Size
	m.opts.Progress.End(l.Digest, OutcomeMoved)
	return nil
}

// whole writes a tar compressed in place of what is in the file.
func (m *deltaMaker) whole(ctx context.Context, tar tardiff.Tar, f *os.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	r, err := tar(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	level := m.opts.Level
	if level == 0 {
		level = 19
	}
	w, err := compress.NewZstd(f, level, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

// scratch returns a file without a name.
func (m *deltaMaker) scratch() (*os.File, error) {
	f, err := os.CreateTemp(m.opts.Scratch, "composefs-delta-*")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}
