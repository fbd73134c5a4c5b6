package tardiff

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/manifest"
)

// Media types of oci-delta.
const (
	ArtifactType = "application/vnd.io.github.containers.oci-delta.v1" // of the artifact
	MediaType    = "application/vnd.tar-diff"                          // of a layer that is a delta
)

// Annotations of oci-delta, of the artifact and of its layers, and the values of the one that says what a layer is.
const (
	annotationSource        = "io.github.containers.delta.source"
	annotationSourceConfig  = "io.github.containers.delta.source-config"
	annotationTarget        = "io.github.containers.delta.target"
	annotationReused        = "io.github.containers.delta.reused"
	annotationReusedDiffIDs = "io.github.containers.delta.reused-diff-id"

	annotationContent = "io.github.containers.delta.content"
	annotationTo      = "io.github.containers.delta.to"

	contentManifest = "image-manifest"
	contentConfig   = "image-config"
	contentLayer    = "image-layer"
)

// Artifact is an oci-delta: what makes one image, the target, of another, the source. In a registry it is a referrer of the
// target. Its blobs are the target's manifest and configuration, and for each layer that the source does not have a
// tar-diff, or the layer as it is. All descriptors are of blobs that lie with the artifact.
//
// The source of the format is README.md of github.com/containers/oci-delta.
type Artifact struct {
	SourceConfig digest.Digest // of the source's configuration
	Source       digest.Digest // of the source's manifest; may be empty, and then nothing is lost
	Manifest     ocispec.Descriptor
	Config       ocispec.Descriptor
	Layers       []ArtifactLayer   // those that the source does not have
	Reused       []ReusedLayer     // those that it has; they are named for information
	Annotations  map[string]string // other than those above; may be nil
}

// ArtifactLayer makes one layer of the target.
type ArtifactLayer struct {
	To   digest.Digest      // what the layer's blob has in the target's manifest
	Blob ocispec.Descriptor // a tar-diff if its media type is [MediaType], else the layer, compressed or not
}

// ReusedLayer is a layer that source and target have in common.
type ReusedLayer struct {
	Blob   digest.Digest // in the target's manifest
	DiffID digest.Digest
}

// IsArtifact says whether a manifest is that of an oci-delta.
func IsArtifact(m ocispec.Manifest) bool { return m.ArtifactType == ArtifactType }

// ParseArtifact parses the manifest of an oci-delta. The error is [ErrArtifact], or [manifest.ErrInvalid] for what is no
// manifest at all. Layers of other kinds, such as signatures, are passed over.
func ParseArtifact(raw []byte) (*Artifact, error) {
	m, err := manifest.ParseManifest(raw)
	if err != nil {
		return nil, err
	}
	if !IsArtifact(m) {
		return nil, fmt.Errorf("%w: the artifact type is %q", ErrArtifact, m.ArtifactType)
	}
	a := &Artifact{
		SourceConfig: digest.Digest(m.Annotations[annotationSourceConfig]), Source: digest.Digest(m.Annotations[annotationSource]),
	}
	for key, value := range m.Annotations {
		switch key {
		case annotationSource, annotationSourceConfig, annotationTarget, annotationReused, annotationReusedDiffIDs:
		default:
			if a.Annotations == nil {
				a.Annotations = map[string]string{}
			}
			a.Annotations[key] = value
		}
	}
	if a.Reused, err = parseReused(m.Annotations); err != nil {
		return nil, err
	}
	for i, l := range m.Layers {
		if err := a.add(l); err != nil {
			return nil, fmt.Errorf("%w: layer %d: %w", ErrArtifact, i, err)
		}
	}
	if err := a.check(); err != nil {
		return nil, err
	}
	if t := m.Annotations[annotationTarget]; t != "" && t != a.Manifest.Digest.String() {
		return nil, fmt.Errorf("%w: the target is %q, and the manifest in it %s", ErrArtifact, t, a.Manifest.Digest)
	}
	if m.Subject != nil && m.Subject.Digest != a.Manifest.Digest {
		return nil, fmt.Errorf("%w: the subject is %s, and the manifest in it %s", ErrArtifact, m.Subject.Digest, a.Manifest.Digest)
	}
	return a, nil
}

// add takes a layer of the artifact for what its annotation says that it is.
func (a *Artifact) add(l ocispec.Descriptor) error {
	blob := ocispec.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size}
	switch l.Annotations[annotationContent] {
	case contentManifest:
		if a.Manifest.Digest != "" {
			return fmt.Errorf("a second manifest")
		}
		a.Manifest = blob
	case contentConfig:
		if a.Config.Digest != "" {
			return fmt.Errorf("a second configuration")
		}
		a.Config = blob
	case contentLayer:
		a.Layers = append(a.Layers, ArtifactLayer{digest.Digest(l.Annotations[annotationTo]), blob})
	}
	return nil
}

func parseReused(annotations map[string]string) ([]ReusedLayer, error) {
	var blobs, diffIDs []digest.Digest
	for key, list := range map[string]*[]digest.Digest{annotationReused: &blobs, annotationReusedDiffIDs: &diffIDs} {
		text, ok := annotations[key]
		if !ok {
			continue
		}
		if err := json.Unmarshal([]byte(text), list); err != nil {
			return nil, fmt.Errorf("%w: annotation %s: %w", ErrArtifact, key, err)
		}
	}
	if len(diffIDs) == 0 { // earlier versions have only the blobs
		diffIDs = make([]digest.Digest, len(blobs))
	}
	if len(blobs) != len(diffIDs) {
		return nil, fmt.Errorf("%w: %d layers are reused, with %d diff ids", ErrArtifact, len(blobs), len(diffIDs))
	}
	var reused []ReusedLayer
	for i := range blobs {
		reused = append(reused, ReusedLayer{blobs[i], diffIDs[i]})
	}
	return reused, nil
}

// check holds the artifact to what both a reader and a writer rely on.
func (a *Artifact) check() error {
	if err := manifest.CheckDigest(a.SourceConfig); err != nil {
		return fmt.Errorf("%w: the source's configuration: %w", ErrArtifact, err)
	}
	if a.Source != "" {
		if err := manifest.CheckDigest(a.Source); err != nil {
			return fmt.Errorf("%w: the source: %w", ErrArtifact, err)
		}
	}
	for _, document := range []struct {
		name string
		blob ocispec.Descriptor
	}{{"manifest", a.Manifest}, {"configuration", a.Config}} {
		if document.blob.Digest == "" {
			return fmt.Errorf("%w: it has no %s", ErrArtifact, document.name)
		}
		if err := manifest.CheckDescriptor(document.blob); err != nil {
			return fmt.Errorf("%w: the %s: %w", ErrArtifact, document.name, err)
		}
		if document.blob.Size > manifest.MaxSize {
			return fmt.Errorf("%w: a %s of %d bytes", ErrArtifact, document.name, document.blob.Size)
		}
	}
	made := map[digest.Digest]bool{}
	for i, l := range a.Layers {
		if err := manifest.CheckDigest(l.To); err != nil {
			return fmt.Errorf("%w: target of layer %d: %w", ErrArtifact, i, err)
		}
		if err := manifest.CheckDescriptor(l.Blob); err != nil {
			return fmt.Errorf("%w: layer %d: %w", ErrArtifact, i, err)
		}
		if !isLayerType(l.Blob.MediaType) {
			return fmt.Errorf("%w: layer %d has the media type %q", ErrArtifact, i, l.Blob.MediaType)
		}
		if made[l.To] {
			return fmt.Errorf("%w: layer %s is made twice", ErrArtifact, l.To)
		}
		made[l.To] = true
	}
	for _, r := range a.Reused {
		if err := manifest.CheckDigest(r.Blob); err != nil {
			return fmt.Errorf("%w: reused layer: %w", ErrArtifact, err)
		}
		if made[r.Blob] {
			return fmt.Errorf("%w: layer %s is both reused and made", ErrArtifact, r.Blob)
		}
		if r.DiffID != "" {
			if err := manifest.CheckDigest(r.DiffID); err != nil {
				return fmt.Errorf("%w: reused layer %s: %w", ErrArtifact, r.Blob, err)
			}
		}
	}
	return nil
}

// isLayerType says whether a media type is that of a tar-diff, or of a layer, in whatever compression.
func isLayerType(mediaType string) bool {
	return mediaType == MediaType || strings.HasPrefix(mediaType, "application/vnd.oci.image.layer.") ||
		strings.HasPrefix(mediaType, "application/vnd.docker.image.rootfs.")
}

// EmptyConfig is the content of the artifact's own configuration, a blob that has to lie with the others.
var EmptyConfig = ocispec.DescriptorEmptyJSON.Data

// Marshal returns the artifact's manifest. Equal artifacts give equal bytes.
func (a *Artifact) Marshal() ([]byte, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	empty := ocispec.DescriptorEmptyJSON
	empty.Data = nil
	subject := ocispec.Descriptor{MediaType: a.Manifest.MediaType, Digest: a.Manifest.Digest, Size: a.Manifest.Size}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: ArtifactType,
		Config: empty, Subject: &subject, Annotations: map[string]string{},
	}
	for key, value := range a.Annotations {
		m.Annotations[key] = value
	}
	m.Annotations[annotationTarget] = a.Manifest.Digest.String()
	m.Annotations[annotationSourceConfig] = a.SourceConfig.String()
	if a.Source != "" {
		m.Annotations[annotationSource] = a.Source.String()
	}
	if len(a.Reused) > 0 {
		var blobs, diffIDs []digest.Digest
		for _, r := range a.Reused {
			blobs, diffIDs = append(blobs, r.Blob), append(diffIDs, r.DiffID)
		}
		for key, list := range map[string][]digest.Digest{annotationReused: blobs, annotationReusedDiffIDs: diffIDs} {
			text, err := json.Marshal(list)
			if err != nil {
				return nil, fmt.Errorf("write oci-delta: %w", err)
			}
			m.Annotations[key] = string(text)
		}
	}
	m.Layers = append(m.Layers, annotated(a.Manifest, contentManifest), annotated(a.Config, contentConfig))
	for _, l := range a.Layers {
		blob := annotated(l.Blob, contentLayer)
		blob.Annotations[annotationTo] = l.To.String()
		m.Layers = append(m.Layers, blob)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write oci-delta: %w", err)
	}
	return raw, nil
}

func annotated(blob ocispec.Descriptor, content string) ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType: blob.MediaType, Digest: blob.Digest, Size: blob.Size, Annotations: map[string]string{annotationContent: content},
	}
}
