package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/oci/flatten"
	"github.com/go-composefs/composefs/oci/policy"
	"github.com/go-composefs/composefs/oci/seal"
	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/tree"
)

// evidenceOptions say what is looked at.
type evidenceOptions struct {
	from   streams     // where the image is
	store  layer.Store // for contents of sparse files
	limits Limits
	format erofs.Format // of the repository's images
	alg    fsverity.Algorithm
	index  digest.Digest // that the image was found in, if any
	boot   bool          // the bootable tree counts
}

// evidence gathers what policies are held against: the digests of an image's parts as computed here, and
// what its own annotations and the artifacts kept beside it say of them.
func evidence(ctx context.Context, img *Image, opts evidenceOptions) (policy.Evidence, error) {
	e := policy.Evidence{Digests: []digest.Digest{img.Digest}, Boot: opts.boot}
	if opts.index != "" {
		e.Digests = append(e.Digests, opts.index)
	}
	if img.Artifact {
		return e, nil
	}
	var err error
	if e.Inline, err = seal.ReadAnnotations(img.RawManifest); err != nil && !errors.Is(err, seal.ErrNotSeal) {
		return e, fmt.Errorf("%w: %w", policy.ErrRefused, err)
	}
	if e.Artifacts, err = artifacts(ctx, opts.from, img); err != nil {
		return e, err
	}
	want := wanted{boot: opts.boot}
	for _, s := range e.Inline {
		want.layers = want.layers || len(s.Digests.Layers) > 0
		want.boot = want.boot || !s.Digests.Bootable.IsZero()
	}
	for _, s := range e.Artifacts {
		want.boot = want.boot || !s.Digests.Bootable.IsZero()
	}
	computed, err := computeDigests(ctx, img, opts, want)
	if err != nil {
		return e, err
	}
	e.Computed = []seal.Digests{computed}
	err = seal.CheckLabel(img.RawConfig, computed.Merged, computed.Bootable)
	if err != nil && !errors.Is(err, seal.ErrMissing) {
		return e, fmt.Errorf("%w: %w", policy.ErrRefused, err)
	}
	return e, nil
}

// wanted says which digests are computed beside those of the documents and the merged tree.
type wanted struct{ layers, boot bool }

// computeDigests computes the digests of an image's parts. Trees are images of format V1, as seals name them,
// whatever format the repository's own are.
func computeDigests(ctx context.Context, img *Image, opts evidenceOptions, want wanted) (seal.Digests, error) {
	d, err := seal.Documents(opts.alg, img.Digest, img.RawManifest, img.RawConfig)
	if err != nil {
		return d, err
	}
	if want.layers {
		if d.Layers, err = layerDigests(ctx, img, opts); err != nil {
			return d, err
		}
	}
	v := Variant{Format: erofs.FormatV1, Transform: TransformCanonical}
	boot := v
	boot.Bootable = true
	if opts.format == erofs.FormatV1 { // V0 has the same key
		d.Merged = img.images[v.key()]
		d.Bootable = img.images[boot.key()]
	}
	if !d.Merged.IsZero() && (!want.boot || !d.Bootable.IsZero()) {
		return d, nil
	}
	root, err := flattened(ctx, opts.from, opts.store, img, PullOptions{Limits: opts.limits})
	if err != nil {
		return d, err
	}
	if d.Merged, err = treeDigest(root, opts.alg); err != nil || !want.boot {
		return d, err
	}
	if err := makeBootable(ctx, root, opts.from); err != nil {
		if opts.boot {
			return d, err
		}
		return d, nil // it is sealed for booting, and cannot be made so: then nothing is said of it
	}
	d.Bootable, err = treeDigest(root, opts.alg)
	return d, err
}

// layerDigests returns the digest of each layer as an image of its own, or nothing if one of them cannot be that: a
// hard link to what a lower layer has says nothing without it.
func layerDigests(ctx context.Context, img *Image, opts evidenceOptions) ([]fsverity.Digest, error) {
	var list []fsverity.Digest
	for n, l := range img.Layers {
		sum, err := layerDigest(ctx, l, opts)
		if errors.Is(err, layer.ErrEntry) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("layer %d of %d, %s: %w", n+1, len(img.Layers), l.Digest, err)
		}
		list = append(list, sum)
	}
	return list, nil
}

func layerDigest(ctx context.Context, l Layer, opts evidenceOptions) (fsverity.Digest, error) {
	s, err := opts.from.OpenStream(l.Stream)
	if err != nil {
		return fsverity.Digest{}, err
	}
	defer s.Close()
	entries := layer.Entries(ctx, s.Reader, layer.EntriesOptions{Store: opts.store, MaxSparse: opts.limits.MaxSparse})
	root, err := flatten.Layer(ctx, flatten.Options{}, entries)
	if err != nil {
		return fsverity.Digest{}, err
	}
	return treeDigest(root, opts.alg)
}

// treeDigest returns the digest of a tree's image, which is not kept.
func treeDigest(root *tree.Inode, alg fsverity.Algorithm) (fsverity.Digest, error) {
	return treeDigestAs(root, erofs.FormatV1, alg)
}

func treeDigestAs(root *tree.Inode, format erofs.Format, alg fsverity.Algorithm) (fsverity.Digest, error) {
	result, err := erofs.Write(io.Discard, root, erofs.WriteOptions{Format: format, Algorithm: alg})
	return result.Digest, err
}

// referrerPrefix is what named refs of a manifest begin with that are manifests about it, whose digests
// follow. So they stay as long as the image does.
const referrerPrefix = "composefs.referrer:"

// artifacts returns the seals among the referrers that are kept with an image. One that says nothing of the
// image, or nothing that can be understood, is passed over: anybody can add some.
func artifacts(ctx context.Context, from streams, img *Image) ([]seal.Seal, error) {
	var list []seal.Seal
	for name := range img.referrers {
		about, err := load(ctx, from, manifestPrefix+strings.TrimPrefix(name, referrerPrefix))
		if err != nil {
			return nil, fmt.Errorf("referrer: %w", err)
		}
		s, err := seal.ReadArtifact(ctx, about.RawManifest, img.Digest, func(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
			return readLayerBlob(ctx, from, d)
		})
		if err == nil {
			list = append(list, s)
		}
		if errors.Is(err, repository.ErrCorrupt) || errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	return list, nil
}

// readLayerBlob reads a small layer of an artifact.
func readLayerBlob(ctx context.Context, from streams, d ocispec.Descriptor) ([]byte, error) {
	s, err := from.OpenStream(layerID(d.Digest))
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if s.Size() > seal.MaxManifest {
		return nil, fmt.Errorf("%w: a blob of %d bytes", ErrCorrupt, s.Size())
	}
	var b strings.Builder
	_, err = s.Copy(ctx, &b)
	return []byte(b.String()), err
}
