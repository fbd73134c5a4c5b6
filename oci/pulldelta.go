package oci

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/oci/tardiff"
	"github.com/go-composefs/composefs/oci/transport"
	"github.com/go-composefs/composefs/splitstream"
)

// ErrNoBase reports a delta whose base is not in the repository.
var ErrNoBase = errors.New("the image that the delta is for is not here")

// delta brings in the image that a delta makes of one that is here.
func (p *puller) delta(ctx context.Context, m transport.Manifest) (*Image, error) {
	a, err := tardiff.ParseArtifact(m.Raw)
	if err != nil {
		return nil, err
	}
	raw, err := p.small(ctx, a.Manifest)
	if err != nil {
		return nil, fmt.Errorf("the image's manifest: %w", err)
	}
	target, err := transport.NewManifest(raw)
	if err != nil {
		return nil, err
	}
	target.Digest = a.Manifest.Digest
	if err := p.opts.Rules.CheckManifest(target.Digest); err != nil {
		return nil, err
	}
	img, err := parseImage(raw, target.Digest)
	if err != nil {
		return nil, err
	}
	if a.Config.Digest != img.Manifest.Config.Digest {
		return nil, fmt.Errorf("%w: the delta has the config %s, and the image %s", ErrCorrupt, a.Config.Digest, img.Manifest.Config.Digest)
	}
	if err := p.config(ctx, img); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if err := p.deltaLayers(ctx, img, a); err != nil {
		return nil, err
	}
	if !img.Artifact {
		if err := p.compose(ctx, img); err != nil {
			return nil, err
		}
	}
	if err := p.keepRefs(ctx, img); err != nil {
		return nil, err
	}
	return img, p.putImage(ctx, img)
}

// small reads a small blob of the source.
func (p *puller) small(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	r, err := p.from.Blob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readBlob(r, d)
}

// deltaLayers makes the layers that are not here, one after the other: each may read all of the base.
func (p *puller) deltaLayers(ctx context.Context, img *Image, a *tardiff.Artifact) error {
	brought := map[digest.Digest]ocispec.Descriptor{}
	for _, l := range a.Layers {
		brought[l.To] = l.Blob
	}
	var base *treeFiles
	for _, l := range img.Layers {
		d, err := p.tx.UseStream(l.Stream)
		if err == nil {
			p.present(l, d)
			continue
		}
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		blob, ok := brought[l.Digest]
		switch {
		case !ok:
			err = fmt.Errorf("%w: it lacks this layer, which the delta does not bring", ErrNoBase)
		case blob.MediaType != tardiff.MediaType:
			d, err = p.readLayer(ctx, Layer{blob, l.DiffID, l.Stream}, false)
		default:
			if base == nil {
				if base, err = p.base(ctx, a.SourceConfig); err != nil {
					return err
				}
			}
			d, err = p.applyDelta(ctx, l, blob, base)
		}
		if err != nil {
			return fmt.Errorf("layer %s: %w", l.Digest, err)
		}
		p.fetched(l, d, blob.Size)
	}
	return nil
}

// base returns the files of the image whose config has a digest, as its layers have them: nothing that a
// transform leaves out is missing.
func (p *puller) base(ctx context.Context, config digest.Digest) (*treeFiles, error) {
	img := &Image{Digest: config}
	img.Manifest.Config.Digest = config
	raw, _, err := readDocument(ctx, p.tx, configID(config), splitstream.Config, config)
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("config %s: %w", config, ErrNoBase)
	}
	if err != nil {
		return nil, err
	}
	if err := img.setLayersOf(raw); err != nil {
		return nil, err
	}
	root, err := flattened(ctx, p.tx, p.tx.Objects(), img, PullOptions{Transform: TransformNone, Limits: p.opts.Limits})
	if err != nil {
		return nil, fmt.Errorf("the image that the delta is for: %w", err)
	}
	return &treeFiles{root, p.tx}, nil
}

// applyDelta makes a layer's tar of a delta and the base's files, and takes it apart.
func (p *puller) applyDelta(ctx context.Context, l Layer, blob ocispec.Descriptor, base *treeFiles) (fsverity.Digest, error) {
	r, err := p.from.Blob(ctx, blob)
	if err != nil {
		return fsverity.Digest{}, err
	}
	defer r.Close()
	p.opts.Progress.Begin(blob.Digest, blob.Size)
	v := newVerifier(watched{r, p.opts.Progress, blob.Digest}, blob)
	made, w := io.Pipe()
	applied := make(chan error, 1)
	go func() {
		err := tardiff.Apply(ctx, v, base, w, tardiff.ApplyOptions{MaxOutput: p.opts.Limits.LayerSize})
		w.CloseWithError(err)
		applied <- err
	}()
	stream := p.tx.NewStream(splitstream.Layer)
	defer stream.Close()
	found, err := layer.Read(ctx, made, layer.Options{
		Store: &countingStore{Dir: p.tx.Objects(), p: p}, Stream: stream, NoTree: true, Plain: true,
		Hash: hashes[l.DiffID.Algorithm()], MaxEntries: p.opts.Limits.MaxEntries, MaxSize: p.opts.Limits.LayerSize,
	})
	_ = made.Close() // ends the other side after an error; never fails
	if errApply := <-applied; errApply != nil {
		err = errApply // the tar ends because of it
	} else if err == nil {
		err = v.finish()
	}
	if err != nil {
		p.opts.Progress.End(blob.Digest, OutcomeFailed)
		return fsverity.Digest{}, fmt.Errorf("apply delta: %w", err)
	}
	p.opts.Progress.End(blob.Digest, OutcomeMoved)
	if err := l.checkTar(found.DiffID); err != nil {
		return fsverity.Digest{}, fmt.Errorf("apply delta: %w", err)
	}
	return p.tx.PutStream(ctx, l.Stream, stream)
}
