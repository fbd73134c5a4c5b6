package transport

import (
	"slices"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutEntries are the manifests that a destination adds to the index of a layout: those that have a
// name there, and those that nothing else would lead to.
type layoutEntries []ocispec.Descriptor

// add records a manifest under a name, or without one if that is empty.
func (e *layoutEntries) add(m Manifest, name string) {
	d := m.Descriptor()
	if name != "" {
		d.Annotations = map[string]string{ocispec.AnnotationRefName: name}
	}
	*e = append(*e, d)
}

// mergeInto adds the entries to an index. A name moves from the manifest that had it, which stays in the
// index only if it is there once more.
func (e layoutEntries) mergeInto(x *ocispec.Index) {
	for _, d := range e {
		name := d.Annotations[ocispec.AnnotationRefName]
		if name == "" {
			if !slices.ContainsFunc(x.Manifests, func(old ocispec.Descriptor) bool { return old.Digest == d.Digest }) {
				x.Manifests = append(x.Manifests, d)
			}
			continue
		}
		x.Manifests = slices.DeleteFunc(x.Manifests, func(old ocispec.Descriptor) bool {
			had := old.Annotations[ocispec.AnnotationRefName]
			return had == name || had == "" && old.Digest == d.Digest
		})
		x.Manifests = append(x.Manifests, d)
	}
}

func emptyIndex() ocispec.Index {
	return ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{},
	}
}
