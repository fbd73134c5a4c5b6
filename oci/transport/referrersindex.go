package transport

import (
	"encoding/json"
	"slices"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/manifest"
)

// withReferrer returns an index (or a new one, if raw is empty) with one more referrer. The bool is false if
// it is there already.
func withReferrer(raw []byte, desc ocispec.Descriptor) ([]byte, bool, error) {
	x := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{},
	}
	if len(raw) > 0 {
		var err error
		if x, err = manifest.ParseIndex(raw); err != nil {
			return nil, false, err
		}
	}
	if slices.ContainsFunc(x.Manifests, func(d ocispec.Descriptor) bool { return d.Digest == desc.Digest }) {
		return nil, false, nil
	}
	x.Manifests = append(x.Manifests, desc)
	changed, err := json.Marshal(x)
	return changed, true, err
}
