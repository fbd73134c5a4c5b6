package oci

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci/seal"
	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/splitstream"
)

// SealOptions say how an image is sealed. The zero value makes an artifact without signatures.
type SealOptions struct {
	// Signer signs; nil: the seal says digests only, which tells who trusts the manifest what its trees are.
	Signer *seal.Signer
	// Inline puts the seal into the manifest's own annotations, which makes it another image. Else it
	// is an artifact that refers to the image, which stays as it is.
	Inline bool
	// Bootable also seals the tree for booting.
	Bootable bool
	// Tags are names that an image sealed inline gets.
	Tags []string
}

// Sealed is what Seal has made.
type Sealed struct {
	Image    *Image // the sealed one
	Digests  seal.Digests
	Signed   bool
	Artifact digest.Digest // of the artifact's manifest; empty for an inline seal
	// KernelSignature says whether the kernel has the signature.
	KernelSignature KernelSignature
}

// Seal computes the digests of an image's parts, signs them if there is a signer, and keeps that with the image:
// pushing the image pushes it too. name is as [Open] takes it.
func Seal(ctx context.Context, r *repository.Repository, name string, opts SealOptions) (*Sealed, error) {
	for _, tag := range opts.Tags {
		if err := CheckTag(tag); err != nil {
			return nil, err
		}
	}
	img, err := Open(ctx, r, name)
	if err != nil {
		return nil, err
	}
	sealed, err := sealImage(ctx, r, img, opts)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", name, err)
	}
	return sealed, nil
}

func sealImage(ctx context.Context, r *repository.Repository, img *Image, opts SealOptions) (*Sealed, error) {
	if img.Artifact {
		return nil, ErrArtifact
	}
	tx, err := r.Begin(ctx, repository.TransactionOptions{Owner: "seal"})
	if err != nil {
		return nil, err
	}
	defer tx.Abort()
	computed, err := computeDigests(ctx, img, evidenceOptions{
		from: tx, store: digestOnly{r.Algorithm()}, format: r.Meta().Format(), alg: r.Algorithm(), boot: opts.Bootable,
	}, wanted{layers: opts.Inline, boot: opts.Bootable})
	if err != nil {
		return nil, err
	}
	if !opts.Bootable {
		computed.Bootable = fsverity.Digest{}
	}
	s := seal.Seal{Digests: computed}
	if opts.Signer != nil {
		if s.Signatures, err = opts.Signer.SignAll(computed); err != nil {
			return nil, err
		}
	}
	p := &puller{r: r, tx: tx, layers: map[string]fsverity.Digest{}, opts: PullOptions{Progress: silent{}}}
	sealed := &Sealed{Image: img, Digests: computed, Signed: opts.Signer != nil}
	if opts.Inline {
		sealed.Image, err = p.sealInline(ctx, img, s)
	} else {
		sealed.Artifact, err = p.sealArtifact(ctx, img, s)
	}
	if err != nil {
		return nil, err
	}
	for _, tag := range opts.Tags {
		if err := tx.TagStream(tagRef(tag), manifestID(sealed.Image.Digest)); err != nil {
			return nil, err
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return nil, err
	}
	for _, tag := range opts.Tags {
		// It is none of the index's any more.
		if err := removeIndexRef(ctx, r, tag); err != nil {
			return nil, err
		}
	}
	return sealed, sealed.tellKernel(ctx, r, s.Signatures)
}

// sealInline puts the image with another manifest.
func (p *puller) sealInline(ctx context.Context, img *Image, s seal.Seal) (*Image, error) {
	raw, err := seal.Annotate(img.RawManifest, s)
	if err != nil {
		return nil, err
	}
	other, err := parseImage(raw, digest.FromBytes(raw))
	if err != nil {
		return nil, err
	}
	if err := other.setConfig(img.RawConfig); err != nil {
		return nil, err
	}
	other.images, other.sources, other.referrers = img.images, img.sources, map[string]fsverity.Digest{}
	return other, p.putAgain(ctx, other)
}

// sealArtifact puts an artifact, and the image's manifest with a ref to it.
func (p *puller) sealArtifact(ctx context.Context, img *Image, s seal.Seal) (digest.Digest, error) {
	raw, blobs, err := seal.Artifact(ocispec.Descriptor{
		MediaType: img.MediaType, Digest: img.Digest, Size: int64(len(img.RawManifest)),
	}, s)
	if err != nil {
		return "", err
	}
	about, err := parseImage(raw, digest.FromBytes(raw))
	if err != nil {
		return "", err
	}
	for _, b := range blobs {
		if b.Descriptor.Digest == about.Manifest.Config.Digest {
			if err := about.setConfig(b.Data); err != nil {
				return "", err
			}
		}
		d, err := p.putBytes(ctx, layerID(b.Descriptor.Digest), b.Data)
		if err != nil {
			return "", err
		}
		p.layers[layerID(b.Descriptor.Digest)] = d
	}
	if err := p.putImage(ctx, about); err != nil {
		return "", err
	}
	stream, err := p.tx.UseStream(manifestID(about.Digest))
	if err != nil {
		return "", err
	}
	img.referrers[referrerPrefix+about.Digest.String()] = stream
	return about.Digest, p.putAgain(ctx, img)
}

// putAgain puts the documents of an image whose layers are here.
func (p *puller) putAgain(ctx context.Context, img *Image) error {
	for _, l := range img.Layers {
		d, err := p.tx.UseStream(l.Stream)
		if err != nil {
			return err
		}
		p.layers[l.Stream] = d
	}
	for _, images := range []map[string]fsverity.Digest{img.images, img.referrers} {
		for _, d := range images {
			if err := p.tx.Use(d); err != nil {
				return err
			}
		}
	}
	return p.putImage(ctx, img)
}

// putBytes puts a small blob as a stream.
func (p *puller) putBytes(ctx context.Context, id string, data []byte) (fsverity.Digest, error) {
	stored, err := p.tx.Objects().PutBytes(ctx, data)
	if err != nil {
		return fsverity.Digest{}, err
	}
	w := p.tx.NewStream(splitstream.Blob)
	defer w.Close()
	w.Object(stored.Digest, int64(len(data)))
	return p.tx.PutStream(ctx, id, w)
}
