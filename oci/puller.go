package oci

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci/manifest"
	"github.com/go-composefs/composefs/oci/policy"
	"github.com/go-composefs/composefs/oci/tardiff"
	"github.com/go-composefs/composefs/oci/transport"
	"github.com/go-composefs/composefs/repository"
)

// puller is one pull.
type puller struct {
	r    *repository.Repository
	from transport.Source
	opts PullOptions
	tx   *repository.Transaction

	mu     sync.Mutex
	layers map[string]fsverity.Digest // streams that are here, or are by now
	stats  Stats
}

func (p *puller) pull(ctx context.Context) (*Pulled, error) {
	p.layers, p.stats = map[string]fsverity.Digest{}, Stats{}
	d, known, err := p.from.Head(ctx)
	if err != nil {
		return nil, err
	}
	if known {
		if pulled := p.unchanged(ctx, d.Digest); pulled != nil {
			return pulled, p.accept(ctx, pulled)
		}
	}
	root, err := p.from.Manifest(ctx, d.Digest)
	if err != nil {
		return nil, err
	}
	if !known {
		if pulled := p.unchanged(ctx, root.Digest); pulled != nil {
			return pulled, p.accept(ctx, pulled)
		}
	}
	p.tx, err = p.r.Begin(ctx, repository.TransactionOptions{Owner: "pull " + p.opts.Name})
	if err != nil {
		return nil, err
	}
	defer p.tx.Abort()
	pulled, err := p.bring(ctx, root)
	if err == nil {
		err = p.approve(ctx, pulled)
	}
	if err == nil {
		err = p.tag(pulled)
	}
	if errors.Is(err, policy.ErrRefused) {
		return nil, err
	}
	if err != nil {
		return nil, errors.Join(err, p.keep(ctx))
	}
	if err := p.tx.Commit(ctx); err != nil {
		return nil, err
	}
	pulled.Stats = p.stats
	return pulled, errors.Join(p.tellKernel(ctx, pulled), p.tidy(ctx, pulled))
}

// bring brings in what the reference names.
func (p *puller) bring(ctx context.Context, root transport.Manifest) (*Pulled, error) {
	pulled := &Pulled{}
	if !manifest.IsIndex(root.MediaType) {
		var err error
		if isDelta(root.Raw) {
			pulled.Image, err = p.delta(ctx, root) // the rules are for what it makes
		} else if err = p.opts.Rules.CheckManifest(root.Digest); err == nil {
			pulled.Image, err = p.image(ctx, root)
		}
		if err != nil {
			return nil, err
		}
		return pulled, p.describe(pulled)
	}
	index, chosen, err := p.choose(root.Raw)
	if err != nil {
		return nil, err
	}
	pulled.Index = &root
	if err := p.opts.Rules.CheckManifest(chosen.Digest, root.Digest); err != nil {
		return nil, err
	}
	wanted := []ocispec.Descriptor{chosen}
	if p.opts.AllPlatforms {
		wanted = index.Manifests
	}
	if len(wanted) > p.opts.Limits.MaxManifests {
		return nil, fmt.Errorf("%w: an index of %d manifests, the limit is %d", ErrLimit, len(wanted), p.opts.Limits.MaxManifests)
	}
	streams := map[digest.Digest]fsverity.Digest{}
	for _, d := range wanted {
		m, err := p.from.Manifest(ctx, d.Digest)
		if err != nil {
			return nil, err
		}
		if manifest.IsIndex(m.MediaType) {
			return nil, fmt.Errorf("%w: an index in an index, %s", ErrUnsupported, d.Digest)
		}
		img, err := p.image(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
		}
		if d.Digest == chosen.Digest {
			pulled.Image = img
		} else {
			pulled.Others = append(pulled.Others, img)
		}
		if streams[d.Digest], err = p.tx.UseStream(manifestID(d.Digest)); err != nil {
			return nil, err
		}
	}
	if err := p.putIndex(ctx, root, streams); err != nil {
		return nil, err
	}
	return pulled, p.describe(pulled)
}

// isDelta says whether a manifest is that of a delta.
func isDelta(raw []byte) bool {
	m, err := manifest.ParseManifest(raw)
	return err == nil && tardiff.IsArtifact(m)
}

// choose reads an index, and chooses the manifest for the platform.
func (p *puller) choose(raw []byte) (ocispec.Index, ocispec.Descriptor, error) {
	index, err := manifest.ParseIndex(raw)
	if err != nil {
		return index, ocispec.Descriptor{}, err
	}
	platform := manifest.DefaultPlatform()
	if p.opts.Platform != nil {
		platform = *p.opts.Platform
	}
	chosen, err := manifest.Select(index, platform)
	if errors.Is(err, manifest.ErrPlatform) && p.opts.AllPlatforms && p.opts.Platform == nil {
		// Who wants all of them need not be able to run one.
		if list := manifest.Platforms(index); len(list) > 0 {
			return index, list[0], nil
		}
	}
	return index, chosen, err
}

// describe tells of the composefs images of what was pulled.
func (p *puller) describe(pulled *Pulled) error {
	if pulled.Image.Artifact {
		return nil
	}
	v := Variant{Format: p.r.Meta().Format(), Transform: p.opts.Transform}
	var err error
	if pulled.Rootfs, err = pulled.Image.Rootfs(v); err != nil || !p.opts.Bootable {
		return err
	}
	v.Bootable = true
	pulled.Boot, err = pulled.Image.Rootfs(v)
	return err
}

// approve holds what was pulled against the rules.
func (p *puller) approve(ctx context.Context, pulled *Pulled) error {
	if len(p.opts.Rules.All()) == 0 {
		return nil
	}
	opts := evidenceOptions{
		from: repositoryStreams{p.r}, store: digestOnly{p.r.Algorithm()}, limits: p.opts.Limits, format: p.r.Meta().Format(), alg: p.r.Algorithm(), boot: p.opts.Bootable,
	}
	if p.tx != nil {
		opts.from, opts.store = p.tx, p.tx.Objects()
	}
	if pulled.Index != nil {
		opts.index = pulled.Index.Digest
	}
	e, err := evidence(ctx, pulled.Image, opts)
	if err == nil {
		pulled.Verdicts, err = p.opts.Rules.Check(e)
	}
	if err != nil {
		return err
	}
	for _, other := range pulled.Others {
		opts.boot = p.opts.Bootable
		e, err := evidence(ctx, other, opts)
		if err == nil {
			_, err = p.opts.Rules.Check(e)
		}
		if err != nil {
			return fmt.Errorf("manifest %s: %w", other.Digest, err)
		}
	}
	return nil
}
