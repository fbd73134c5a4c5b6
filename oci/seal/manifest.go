package seal

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// manifest is an image manifest, taken apart as far as seals are concerned.
type manifest struct {
	object
	config descriptor
	layers []descriptor
}

// descriptor is what a manifest says of a blob.
type descriptor struct {
	object
	ocispec.Descriptor
}

// parseManifest reads an OCI image manifest, which artifacts are as well.
func parseManifest(raw []byte) (*manifest, error) {
	if err := checkDocument(raw); err != nil {
		return nil, err
	}
	o, err := parseObject(raw, manifestFields...)
	if err != nil {
		return nil, err
	}
	m := &manifest{object: *o}
	var version int
	var mediaType string
	var layers []json.RawMessage
	for name, v := range map[string]any{"schemaVersion": &version, "mediaType": &mediaType, "layers": &layers} {
		if err := o.decode(name, v); err != nil {
			return nil, err
		}
	}
	// Docker's manifests have no annotations.
	if version != 2 || (mediaType != "" && mediaType != ocispec.MediaTypeImageManifest) {
		return nil, fmt.Errorf("%w: schema %d, %q, not an OCI image manifest", ErrNotSeal, version, mediaType)
	}
	if len(layers) > MaxLayers {
		return nil, fmt.Errorf("%w: %d layers, at most %d", ErrTooLarge, len(layers), MaxLayers)
	}
	if m.config, err = parseDescriptor(o.get("config")); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	for i, raw := range layers {
		d, err := parseDescriptor(raw)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		m.layers = append(m.layers, d)
	}
	return m, nil
}

func parseDescriptor(raw json.RawMessage) (descriptor, error) {
	if raw == nil {
		return descriptor{}, fmt.Errorf("%w: no descriptor", ErrMalformed)
	}
	o, err := parseObject(raw, descriptorFields...)
	if err != nil {
		return descriptor{}, err
	}
	d := descriptor{object: *o}
	// One by one: of the rest of a descriptor nothing is of interest, so it may be anything.
	if err := o.decode("mediaType", &d.MediaType); err != nil {
		return descriptor{}, err
	}
	if err := o.decode("digest", &d.Digest); err != nil {
		return descriptor{}, err
	}
	if err := o.decode("size", &d.Size); err != nil {
		return descriptor{}, err
	}
	if err := d.Digest.Validate(); err != nil {
		return descriptor{}, fmt.Errorf("%w: digest %q: %w", ErrMalformed, d.Digest, err)
	}
	if d.Size < 0 {
		return descriptor{}, fmt.Errorf("%w: size %d", ErrMalformed, d.Size)
	}
	return d, nil
}

// annotations returns the annotations of a manifest or descriptor, empty if it has none.
func annotations(o *object) (*object, error) {
	raw := o.get("annotations")
	if raw == nil {
		return &object{}, nil
	}
	a, err := parseObject(raw)
	if err != nil {
		return nil, fmt.Errorf("annotations: %w", err)
	}
	return a, nil
}

// blob describes data as a blob.
func blob(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}
