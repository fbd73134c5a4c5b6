package seal

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/fsverity"
)

// Fetch returns a blob. It is asked for at most [MaxSignature] bytes at a time; what it returns is
// checked against the descriptor, so that it need not be.
type Fetch func(ctx context.Context, d ocispec.Descriptor) ([]byte, error)

// ReadArtifact returns what an artifact says of the image whose manifest has the digest subject. fetch
// gets its signatures; without it only digests are returned.
//
// It is [ErrNotSeal] for a manifest of another type, [ErrSubject] for one about another image,
// [ErrOrder], [ErrDuplicate], [ErrMixed], [ErrIncomplete], [ErrTooLarge] or [ErrMalformed] for one that
// breaks the rules, and [ErrWrongDigest] for a blob that is not the one it refers to. Which parts must be
// signed is for [Verify] to say.
func ReadArtifact(ctx context.Context, raw []byte, subject digest.Digest, fetch Fetch) (Seal, error) {
	s, signatures, err := parseArtifact(raw, subject)
	if err != nil {
		return Seal{}, fmt.Errorf("read artifact: %w", err)
	}
	if fetch == nil {
		return s, nil
	}
	for p, d := range signatures {
		if d.Digest == "" {
			continue
		}
		data, err := fetch(ctx, d)
		if err != nil {
			return Seal{}, fmt.Errorf("read artifact: fetch signature of %v: %w", Part(p), err)
		}
		if int64(len(data)) != d.Size || d.Digest.Algorithm().FromBytes(data) != d.Digest {
			return Seal{}, fmt.Errorf("read artifact: signature of %v: %w: a blob of %d bytes is not %v", Part(p), ErrWrongDigest, len(data), d.Digest)
		}
		*s.Signatures.place(Item{Part: Part(p)}) = data
	}
	return s, nil
}

// parseArtifact returns the digests, and where the signatures are, by part.
func parseArtifact(raw []byte, subject digest.Digest) (s Seal, signatures [Bootable + 1]ocispec.Descriptor, err error) {
	m, err := parseManifest(raw)
	if err != nil {
		return s, signatures, err
	}
	var artifactType string
	if err := m.decode("artifactType", &artifactType); err != nil {
		return s, signatures, err
	}
	if artifactType != ArtifactType {
		return s, signatures, fmt.Errorf("%w: artifact type %q, not %q", ErrNotSeal, artifactType, ArtifactType)
	}
	about, err := parseDescriptor(m.get("subject"))
	if err != nil {
		return s, signatures, fmt.Errorf("subject: %w", err)
	}
	if about.Digest != subject {
		return s, signatures, fmt.Errorf("%w: %v, not %v", ErrSubject, about.Digest, subject)
	}
	if !isEmpty(m.config) {
		return s, signatures, fmt.Errorf("config: %w: not the empty one", ErrMalformed)
	}
	last := Part(0)
	for i, layer := range m.layers {
		p, alg, sum, err := artifactEntry(&layer)
		if err != nil {
			return s, signatures, fmt.Errorf("layer %d: %w", i, err)
		}
		switch {
		case p == last:
			return s, signatures, fmt.Errorf("layer %d: %w: %v", i, ErrDuplicate, p)
		case p < last:
			return s, signatures, fmt.Errorf("layer %d: %w: %v after %v", i, ErrOrder, p, last)
		case i > 0 && alg != s.Digests.Algorithm:
			return s, signatures, fmt.Errorf("layer %d: %w: %v after %v", i, ErrMixed, alg, s.Digests.Algorithm)
		}
		last = p
		s.Digests.Algorithm = alg
		*s.Digests.place(Item{Part: p}) = sum
		if !isEmpty(layer) {
			signatures[p] = layer.Descriptor
		}
	}
	return s, signatures, s.require(Merged)
}

// artifactEntry reads one layer of an artifact.
func artifactEntry(layer *descriptor) (p Part, alg fsverity.Algorithm, sum fsverity.Digest, err error) {
	a, err := annotations(&layer.object)
	if err != nil {
		return 0, alg, sum, err
	}
	for _, m := range a.members {
		part, found, isSignature, ok := ParseKey(m.name)
		switch {
		case !ok:
			continue
		case isSignature || part == Layer:
			return 0, alg, sum, fmt.Errorf("%w: annotation %q does not belong there", ErrMalformed, m.name)
		case p != 0:
			return 0, alg, sum, fmt.Errorf("%w: it is of %v and of %v", ErrDuplicate, p, part)
		}
		p, alg = part, found
		if sum, err = parseDigest(m.value, alg); err != nil {
			return 0, alg, sum, fmt.Errorf("annotation %q: %w", m.name, err)
		}
	}
	switch {
	case p == 0:
		err = fmt.Errorf("%w: no annotation says what it is of", ErrMalformed)
	case isEmpty(*layer):
	case layer.MediaType != MediaTypeSignature:
		err = fmt.Errorf("%w: media type %q, not %q", ErrMalformed, layer.MediaType, MediaTypeSignature)
	case layer.Size == 0:
		err = fmt.Errorf("%w: empty signature", ErrMalformed)
	case layer.Size > MaxSignature:
		err = fmt.Errorf("signature of %v: %w: %d bytes, at most %d", p, ErrTooLarge, layer.Size, MaxSignature)
	}
	return p, alg, sum, err
}

// isEmpty says whether a descriptor is that of the empty blob "{}".
func isEmpty(d descriptor) bool {
	return d.MediaType == ocispec.MediaTypeEmptyJSON && d.Digest == ocispec.DescriptorEmptyJSON.Digest && d.Size == ocispec.DescriptorEmptyJSON.Size
}
