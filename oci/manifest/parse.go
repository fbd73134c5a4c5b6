package manifest

import (
	// Digests of these algorithms can be verified only if they are linked.
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxSize is the size in bytes that a document may have. The OCI distribution specification
// asks registries to take manifests of at least 4 MiB, and so nobody makes larger ones.
const MaxSize = 4 << 20

// Errors that callers branch on.
var (
	// ErrInvalid reports a document that is not what its kind has to be.
	ErrInvalid = errors.New("invalid manifest")
	// ErrSchema1 reports a manifest in Docker's first form, which registries gave up in 2017.
	ErrSchema1 = errors.New("manifest of docker schema 1 is not supported")
	// ErrPlatform reports an index without an image for a platform.
	ErrPlatform = errors.New("no image for the platform")
)

// outline has those fields of a document that say what it is.
type outline struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Manifests     json.RawMessage `json:"manifests"`
	Config        json.RawMessage `json:"config"`
	Layers        json.RawMessage `json:"layers"`
	FSLayers      json.RawMessage `json:"fsLayers"`
}

// MediaType returns what kind of document raw is: the media type of a manifest or an index.
// Declared is what its source says, such as the header Content-Type; an empty or a general one
// (application/json) is ignored. What the document says of itself has to agree with that, and its fields
// with both, else the error is [ErrInvalid]. Docker's first form gives [ErrSchema1].
func MediaType(raw []byte, declared string) (string, error) {
	if len(raw) > MaxSize {
		return "", fmt.Errorf("%w: it has %d bytes, %d are allowed", ErrInvalid, len(raw), MaxSize)
	}
	var o outline
	if err := json.Unmarshal(raw, &o); err != nil {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	declared = bare(declared)
	if declared == dockerSchema1 || declared == dockerSchema1Signed || o.SchemaVersion == 1 || present(o.FSLayers) {
		return "", ErrSchema1
	}
	if o.SchemaVersion != 2 {
		return "", fmt.Errorf("%w: schema version %d", ErrInvalid, o.SchemaVersion)
	}
	isIndex, isManifest := present(o.Manifests), present(o.Config) || present(o.Layers)
	if isIndex == isManifest {
		return "", fmt.Errorf("%w: it has to have either manifests, or a configuration and layers", ErrInvalid)
	}
	known := IsIndex(declared) || IsManifest(declared)
	mediaType := o.MediaType
	switch {
	case mediaType == "" && known:
		mediaType = declared
	case mediaType == "" && isIndex:
		mediaType = ocispec.MediaTypeImageIndex
	case mediaType == "":
		mediaType = ocispec.MediaTypeImageManifest
	case known && declared != mediaType:
		return "", fmt.Errorf("%w: it says of itself that it is %q, its source says %q", ErrInvalid, mediaType, declared)
	}
	if IsIndex(mediaType) != isIndex || IsManifest(mediaType) != isManifest {
		return "", fmt.Errorf("%w: its fields are not those of %q", ErrInvalid, mediaType)
	}
	return mediaType, nil
}

func present(field json.RawMessage) bool { return len(field) > 0 && string(field) != "null" }

// ParseManifest parses a manifest of an image or an artifact. MediaType of the result is always set.
func ParseManifest(raw []byte) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	mediaType, err := MediaType(raw, "")
	if err != nil {
		return m, err
	}
	if !IsManifest(mediaType) {
		return m, fmt.Errorf("%w: it is an index", ErrInvalid)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	m.MediaType = mediaType
	if err := CheckDescriptor(m.Config); err != nil {
		return m, fmt.Errorf("%w: configuration: %w", ErrInvalid, err)
	}
	for i, d := range m.Layers {
		if err := CheckDescriptor(d); err != nil {
			return m, fmt.Errorf("%w: layer %d: %w", ErrInvalid, i, err)
		}
	}
	if m.Subject != nil {
		if err := CheckDescriptor(*m.Subject); err != nil {
			return m, fmt.Errorf("%w: subject: %w", ErrInvalid, err)
		}
	}
	return m, nil
}

// ParseIndex parses an index. MediaType of the result is always set.
func ParseIndex(raw []byte) (ocispec.Index, error) {
	var x ocispec.Index
	mediaType, err := MediaType(raw, "")
	if err != nil {
		return x, err
	}
	if !IsIndex(mediaType) {
		return x, fmt.Errorf("%w: it is no index", ErrInvalid)
	}
	if err := json.Unmarshal(raw, &x); err != nil {
		return x, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	x.MediaType = mediaType
	for i, d := range x.Manifests {
		if err := CheckDescriptor(d); err != nil {
			return x, fmt.Errorf("%w: manifest %d: %w", ErrInvalid, i, err)
		}
	}
	if x.Subject != nil {
		if err := CheckDescriptor(*x.Subject); err != nil {
			return x, fmt.Errorf("%w: subject: %w", ErrInvalid, err)
		}
	}
	return x, nil
}

// ParseConfig parses an image's configuration. Each of its diff_ids is a well-formed digest.
func ParseConfig(raw []byte) (ocispec.Image, error) {
	var c ocispec.Image
	if len(raw) > MaxSize {
		return c, fmt.Errorf("%w: configuration has %d bytes, %d are allowed", ErrInvalid, len(raw), MaxSize)
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("%w: configuration: %w", ErrInvalid, err)
	}
	if t := c.RootFS.Type; t != "" && t != "layers" {
		return c, fmt.Errorf("%w: configuration has a root filesystem of type %q", ErrInvalid, t)
	}
	for i, d := range c.RootFS.DiffIDs {
		if err := CheckDigest(d); err != nil {
			return c, fmt.Errorf("%w: diff_id %d: %w", ErrInvalid, i, err)
		}
	}
	return c, nil
}

// Subject returns the subject of a manifest or an index, nil if it has none.
func Subject(raw []byte) (*ocispec.Descriptor, error) {
	mediaType, err := MediaType(raw, "")
	if err != nil {
		return nil, err
	}
	if IsIndex(mediaType) {
		x, err := ParseIndex(raw)
		return x.Subject, err
	}
	m, err := ParseManifest(raw)
	return m.Subject, err
}

// Referrer returns how lists of referrers describe a manifest or an index: with the artifact type,
// which for manifests that have none is the media type of the configuration, and with its
// annotations (OCI distribution specification, "Listing Referrers").
func Referrer(raw []byte) (ocispec.Descriptor, error) {
	mediaType, err := MediaType(raw, "")
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if IsIndex(mediaType) {
		x, err := ParseIndex(raw)
		d.ArtifactType, d.Annotations = x.ArtifactType, x.Annotations
		return d, err
	}
	m, err := ParseManifest(raw)
	d.ArtifactType, d.Annotations = m.ArtifactType, m.Annotations
	if d.ArtifactType == "" {
		d.ArtifactType = m.Config.MediaType
	}
	return d, err
}

// CheckDescriptor returns an error for a descriptor whose digest is not well-formed or whose size is
// negative.
func CheckDescriptor(d ocispec.Descriptor) error {
	if err := CheckDigest(d.Digest); err != nil {
		return err
	}
	if d.Size < 0 {
		return fmt.Errorf("size %d of %s", d.Size, d.Digest)
	}
	return nil
}

// CheckDigest returns an error for what is no digest of an algorithm that can be verified here: sha256,
// sha384 or sha512. The methods of a [digest.Digest] that passed do not panic, and it can be part of a
// path.
func CheckDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %.140q: %w", d, err)
	}
	return nil
}
