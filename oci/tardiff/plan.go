package tardiff

import (
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/manifest"
)

// LayerPlan says how a layer of the target comes about.
type LayerPlan struct {
	Layer  ocispec.Descriptor // in the target's manifest
	DiffID digest.Digest      // what the layer's tar must have
	// Blob makes the layer; nil means that the layer is the source's, and has to be there.
	Blob *ocispec.Descriptor
}

// IsDelta says whether the layer is made by a tar-diff.
func (p LayerPlan) IsDelta() bool { return p.Blob != nil && p.Blob.MediaType == MediaType }

// Plan verifies the target's manifest and configuration, which the artifact has as blobs, against the artifact and
// against each other, and says how each layer of the target comes about, the lowest first. The error is [ErrArtifact] or
// [manifest.ErrInvalid].
func (a *Artifact) Plan(rawManifest, rawConfig []byte) ([]LayerPlan, error) {
	if err := isBlob(a.Manifest, rawManifest); err != nil {
		return nil, fmt.Errorf("%w: manifest: %w", ErrArtifact, err)
	}
	if err := isBlob(a.Config, rawConfig); err != nil {
		return nil, fmt.Errorf("%w: configuration: %w", ErrArtifact, err)
	}
	m, err := manifest.ParseManifest(rawManifest)
	if err != nil {
		return nil, fmt.Errorf("manifest of the target: %w", err)
	}
	config, err := manifest.ParseConfig(rawConfig)
	if err != nil {
		return nil, fmt.Errorf("configuration of the target: %w", err)
	}
	if m.Config.Digest != a.Config.Digest {
		return nil, fmt.Errorf("%w: the target's configuration is %s, not %s", ErrArtifact, m.Config.Digest, a.Config.Digest)
	}
	if len(m.Layers) != len(config.RootFS.DiffIDs) {
		return nil, fmt.Errorf("%w: the target has %d layers, and %d diff ids", ErrArtifact, len(m.Layers), len(config.RootFS.DiffIDs))
	}
	made := map[digest.Digest]*ocispec.Descriptor{}
	for i := range a.Layers {
		made[a.Layers[i].To] = &a.Layers[i].Blob
	}
	var plan []LayerPlan
	for i, l := range m.Layers {
		p := LayerPlan{Layer: l, DiffID: config.RootFS.DiffIDs[i], Blob: made[l.Digest]}
		plan = append(plan, p)
	}
	return plan, nil
}

// isBlob verifies a blob against its descriptor.
func isBlob(d ocispec.Descriptor, raw []byte) error {
	if int64(len(raw)) != d.Size {
		return fmt.Errorf("%d bytes, not %d", len(raw), d.Size)
	}
	if got := d.Digest.Algorithm().FromBytes(raw); got != d.Digest {
		return fmt.Errorf("the digest is %s, not %s", got, d.Digest)
	}
	return nil
}
