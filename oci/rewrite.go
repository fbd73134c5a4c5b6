package oci

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// rewriteLayers returns a manifest whose layers are other blobs. What it does not know of the document stays;
// fields come in another order.
func rewriteLayers(raw []byte, became map[digest.Digest]ocispec.Descriptor) ([]byte, error) {
	return rewriteList(raw, "layers", func(d digest.Digest, one map[string]json.RawMessage) (bool, error) {
		desc, ok := became[d]
		if !ok || desc.Digest == d {
			return true, nil
		}
		annotations := map[string]string{}
		if err := unmarshalField(one, "annotations", &annotations); err != nil {
			return false, err
		}
		// Those of another compression tell lies now.
		for key := range annotations {
			if isCompressionAnnotation(key) {
				delete(annotations, key)
			}
		}
		for key, value := range desc.Annotations {
			annotations[key] = value
		}
		if len(annotations) > 0 {
			if err := marshalField(one, "annotations", annotations); err != nil {
				return false, err
			}
		} else {
			delete(one, "annotations")
		}
		return true, setDescriptor(one, desc)
	})
}

// rewriteIndex returns an index whose manifests are others, or, where that is nil, are missing.
func rewriteIndex(raw []byte, became map[digest.Digest]*ocispec.Descriptor) ([]byte, error) {
	return rewriteList(raw, "manifests", func(d digest.Digest, one map[string]json.RawMessage) (bool, error) {
		desc, ok := became[d]
		if !ok {
			return true, nil
		}
		if desc == nil {
			return false, nil
		}
		return true, setDescriptor(one, *desc)
	})
}

// rewriteList changes the descriptors of a list, and drops those for which change says false.
func rewriteList(raw []byte, list string, change func(d digest.Digest, one map[string]json.RawMessage) (bool, error)) ([]byte, error) {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	var old []map[string]json.RawMessage
	if err := unmarshalField(doc, list, &old); err != nil {
		return nil, err
	}
	kept := make([]map[string]json.RawMessage, 0, len(old))
	for _, one := range old {
		var d digest.Digest
		if err := unmarshalField(one, "digest", &d); err != nil {
			return nil, err
		}
		keep, err := change(d, one)
		if err != nil {
			return nil, err
		}
		if keep {
			kept = append(kept, one)
		}
	}
	if err := marshalField(doc, list, kept); err != nil {
		return nil, err
	}
	return json.Marshal(doc)
}

func setDescriptor(one map[string]json.RawMessage, d ocispec.Descriptor) error {
	delete(one, "data")
	delete(one, "urls")
	for key, value := range map[string]any{"mediaType": d.MediaType, "digest": d.Digest, "size": d.Size} {
		if err := marshalField(one, key, value); err != nil {
			return err
		}
	}
	return nil
}

func unmarshalField(fields map[string]json.RawMessage, name string, into any) error {
	raw, ok := fields[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%w: field %q: %w", ErrCorrupt, name, err)
	}
	return nil
}

func marshalField(fields map[string]json.RawMessage, name string, value any) error {
	raw, err := json.Marshal(value)
	fields[name] = raw
	return err
}
