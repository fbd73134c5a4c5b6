package oci

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci/manifest"
	"github.com/go-composefs/composefs/oci/seal"
	"github.com/go-composefs/composefs/splitstream"
)

// maxReferrers bounds how many seals of an image are brought in. Anybody may add some to a registry.
const maxReferrers = 32

// findReferrers brings in the seals of an image that are artifacts, and keeps those that are here already.
// Without any rule that needs them a source that cannot tell is no failure.
func (p *puller) findReferrers(ctx context.Context, img *Image) error {
	if err := p.keepRefs(ctx, img); err != nil {
		return err
	}
	if img.Artifact || img.Manifest.MediaType == manifest.DockerManifest && !p.opts.Rules.NeedsSeal() {
		return nil
	}
	list, err := p.from.Referrers(ctx, img.Digest, "")
	if err != nil {
		if ctx.Err() == nil && !p.opts.Rules.NeedsSeal() {
			return nil
		}
		return fmt.Errorf("find seals: %w", err)
	}
	list = slices.DeleteFunc(list, func(d ocispec.Descriptor) bool { return !mayBeSeal(d) })
	for i, d := range list {
		name := referrerPrefix + d.Digest.String()
		if _, here := img.referrers[name]; here {
			continue
		}
		if i >= maxReferrers {
			break
		}
		stream, err := p.referrer(ctx, img, d.Digest)
		if err != nil {
			return fmt.Errorf("seal %s: %w", d.Digest, err)
		}
		if !stream.IsZero() {
			img.referrers[name] = stream
		}
	}
	return nil
}

// mayBeSeal says whether a descriptor in a list of referrers can be that of a seal. Some registries give the media
// type of the config where the artifact type should be.
func mayBeSeal(d ocispec.Descriptor) bool {
	switch d.ArtifactType {
	case seal.ArtifactType, ocispec.MediaTypeEmptyJSON, "":
		return true
	}
	return false
}

// keepRefs notes what is kept with an image that is here already, and where it is pulled from now.
func (p *puller) keepRefs(ctx context.Context, img *Image) error {
	_, refs, err := readDocument(ctx, p.tx, manifestID(img.Digest), splitstream.Manifest, img.Digest)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	img.noteRefs(refs)
	if p.opts.Name != "" && !slices.Contains(img.sources, p.opts.Name) {
		img.sources = append(img.sources, p.opts.Name)
	}
	for name, d := range img.referrers {
		if err := p.tx.Use(d); errors.Is(err, ErrNotFound) {
			delete(img.referrers, name)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// referrer brings in one seal, and returns the digest of its stream; zero for what is none of this image.
func (p *puller) referrer(ctx context.Context, img *Image, d digest.Digest) (fsverity.Digest, error) {
	m, err := p.from.Manifest(ctx, d)
	if err != nil {
		return fsverity.Digest{}, err
	}
	if _, err := seal.ReadArtifact(ctx, m.Raw, img.Digest, nil); err != nil {
		return fsverity.Digest{}, nil //nolint:nilerr // it may be anybody's
	}
	about, err := parseImage(m.Raw, m.Digest)
	if err != nil {
		return fsverity.Digest{}, err
	}
	if err := p.config(ctx, about); err != nil {
		return fsverity.Digest{}, err
	}
	if err := p.pullLayers(ctx, about); err != nil {
		return fsverity.Digest{}, err
	}
	if err := p.putImage(ctx, about); err != nil {
		return fsverity.Digest{}, err
	}
	return p.tx.UseStream(manifestID(about.Digest))
}
