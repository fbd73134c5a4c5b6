package seal

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The types by which an artifact is known.
const (
	ArtifactType       = "application/vnd.composefs.metadata.v1"
	MediaTypeSignature = "application/vnd.composefs.signature.v1+pkcs7"
)

// Blob is a blob that an artifact refers to.
type Blob struct {
	Descriptor ocispec.Descriptor
	Data       []byte
}

// Artifact returns a manifest that says the seal of the image whose manifest is subject, and the blobs
// that have to be there before it, each once. Equal arguments give equal bytes. Digests and signatures
// of layers are left out: they have no place there. A part that is not signed has an empty blob ("{}")
// in the place of the signature.
//
// The seal must have the digest of the merged tree and, if anything is signed, signatures of
// manifest, configuration and trees ([ErrIncomplete]).
func Artifact(subject ocispec.Descriptor, s Seal) (manifest []byte, blobs []Blob, err error) {
	s.Digests.Layers, s.Signatures.Layers = nil, nil
	must := []Part{Merged}
	if s.Signatures.Any() {
		must = []Part{Manifest, Config, Merged}
	}
	if err := s.check(); err != nil {
		return nil, nil, fmt.Errorf("make artifact: %w", err)
	}
	if err := s.require(must...); err != nil {
		return nil, nil, fmt.Errorf("make artifact: %w", err)
	}
	if err := subject.Digest.Validate(); err != nil {
		return nil, nil, fmt.Errorf("make artifact: subject: %w: %w", ErrMalformed, err)
	}
	empty := blob(ocispec.MediaTypeEmptyJSON, []byte("{}"))
	blobs = []Blob{{empty, []byte("{}")}}
	m := ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: ArtifactType,
		Config:       empty,
		Subject:      &ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
	}
	for i, sum := range s.Digests.All() {
		layer := empty
		if signature := s.Signatures.Of(i); len(signature) > 0 {
			layer = blob(MediaTypeSignature, signature)
			blobs = append(blobs, Blob{layer, signature})
		}
		layer.Annotations = map[string]string{i.Part.Key(s.Digests.Algorithm): sum.String()}
		m.Layers = append(m.Layers, layer)
	}
	manifest, err = json.Marshal(m)
	if err != nil {
		return nil, nil, fmt.Errorf("make artifact: %w", err)
	}
	return manifest, blobs, nil
}
