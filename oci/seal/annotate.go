package seal

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/go-composefs/composefs/fsverity"
)

// Annotate returns the image manifest with the seal inline, in the place of one under the same
// algorithm. Everything else in it survives as it was written, but for blanks; equal arguments give
// equal bytes. The manifest's own digest and signature are left out: they would change it.
//
// The seal must have digests of the configuration and the merged tree, of all layers or none, and,
// if anything is signed, signatures of the configuration and the trees ([ErrIncomplete]). A manifest
// of Docker's is [ErrNotSeal], as it has no annotations.
func Annotate(raw []byte, s Seal) ([]byte, error) {
	out, err := annotate(raw, s)
	if err != nil {
		return nil, fmt.Errorf("seal manifest: %w", err)
	}
	return out, nil
}

func annotate(raw []byte, s Seal) ([]byte, error) {
	s.Digests.Manifest, s.Signatures.Manifest = fsverity.Digest{}, nil
	if err := s.check(); err != nil {
		return nil, err
	}
	if err := s.require(Config, Merged); err != nil {
		return nil, err
	}
	m, err := parseManifest(raw)
	if err != nil {
		return nil, err
	}
	if n := len(s.Digests.Layers); n != 0 && n != len(m.layers) {
		return nil, fmt.Errorf("%w: digests of %d layers, but the manifest has %d", ErrIncomplete, n, len(m.layers))
	}
	if err := m.config.write(&s, Item{Part: Config}); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	m.set("config", m.config.encode())
	layers := make([]json.RawMessage, len(m.layers))
	for i := range m.layers {
		if err := m.layers[i].write(&s, Item{Layer, i}); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		layers[i] = m.layers[i].encode()
	}
	if len(layers) > 0 {
		m.set("layers", joinArray(layers))
	}
	if err := m.write(&s, Item{Part: Merged}, Item{Part: Bootable}); err != nil {
		return nil, err
	}
	out := m.encode()
	if len(out) > MaxManifest {
		return nil, fmt.Errorf("%w: %d bytes with the seal, at most %d", ErrTooLarge, len(out), MaxManifest)
	}
	return out, nil
}

// write puts the items' digests and signatures among the annotations of o, in place of all that are
// there under the same algorithm.
func (o *object) write(s *Seal, items ...Item) error {
	a, err := annotations(o)
	if err != nil {
		return err
	}
	alg := s.Digests.Algorithm
	before := len(a.members)
	a.remove(func(name string) bool {
		_, found, _, ok := ParseKey(name)
		return ok && found == alg
	})
	changed := len(a.members) != before
	for _, i := range items {
		sum := s.Digests.Of(i)
		if sum.IsZero() {
			continue
		}
		changed = true
		a.set(i.Part.Key(alg), encodeString(sum.String()))
		if signature := s.Signatures.Of(i); len(signature) > 0 {
			a.set(i.Part.SignatureKey(alg), encodeString(base64.StdEncoding.EncodeToString(signature)))
		}
	}
	if changed {
		o.set("annotations", a.encode())
	}
	return nil
}

func joinArray(values []json.RawMessage) json.RawMessage {
	size := 2
	for _, v := range values {
		size += len(v) + 1
	}
	b := append(make([]byte, 0, size), '[')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, v...)
	}
	return slices.Clip(append(b, ']'))
}
