package seal

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
)

// ReadAnnotations returns the seals that an image manifest has inline, one for each algorithm, by
// the algorithm's number. An image that is not sealed, or by later formats only, has none.
//
// It is [ErrMalformed] if a digest is not in lower-case hexadecimal, a signature not base64 or
// without its digest, or if an annotation is not where it belongs; [ErrMixed] if a digest has
// the length of another algorithm; [ErrDuplicate] if a name is there twice; [ErrTooLarge] as said
// at [MaxManifest]. A manifest of Docker's is [ErrNotSeal].
func ReadAnnotations(raw []byte) ([]Seal, error) {
	m, err := parseManifest(raw)
	if err != nil {
		return nil, fmt.Errorf("read seal of manifest: %w", err)
	}
	r := reader{layers: len(m.layers)}
	err = r.read(&m.object, Item{Part: Merged}, Item{Part: Bootable})
	if err == nil {
		err = r.read(&m.config.object, Item{Part: Config})
	}
	for i := range m.layers {
		if err == nil {
			err = r.read(&m.layers[i].object, Item{Layer, i})
		}
	}
	for i := range r.seals {
		if err == nil {
			err = r.seals[i].check()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read seal of manifest: %w", err)
	}
	slices.SortFunc(r.seals, func(a, b Seal) int {
		return strings.Compare(a.Digests.Algorithm.String(), b.Digests.Algorithm.String())
	})
	return r.seals, nil
}

// Find returns the seal under an algorithm.
func Find(seals []Seal, alg fsverity.Algorithm) (Seal, bool) {
	at := slices.IndexFunc(seals, func(s Seal) bool { return s.Digests.Algorithm == alg })
	if at < 0 {
		return Seal{}, false
	}
	return seals[at], true
}

// reader collects seals from annotations.
type reader struct {
	layers int
	seals  []Seal
}

// of returns the seal under an algorithm, which begins here if it has not yet.
func (r *reader) of(alg fsverity.Algorithm) *Seal {
	at := slices.IndexFunc(r.seals, func(s Seal) bool { return s.Digests.Algorithm == alg })
	if at < 0 {
		at = len(r.seals)
		r.seals = append(r.seals, Seal{Digests: Digests{Algorithm: alg}})
	}
	return &r.seals[at]
}

// read takes the annotations of o, among which only those of the items may be.
func (r *reader) read(o *object, items ...Item) error {
	a, err := annotations(o)
	if err != nil {
		return err
	}
	for _, m := range a.members {
		p, alg, isSignature, ok := ParseKey(m.name)
		if !ok {
			continue
		}
		at := slices.IndexFunc(items, func(i Item) bool { return i.Part == p })
		if at < 0 {
			return fmt.Errorf("%w: annotation %q does not belong there", ErrMalformed, m.name)
		}
		s := r.of(alg)
		if items[at].Part == Layer && s.Digests.Layers == nil {
			s.Digests.Layers = make([]fsverity.Digest, r.layers)
			s.Signatures.Layers = make([][]byte, r.layers)
		}
		if isSignature {
			*s.Signatures.place(items[at]), err = parseSignature(m.value)
		} else {
			*s.Digests.place(items[at]), err = parseDigest(m.value, alg)
		}
		if err != nil {
			return fmt.Errorf("annotation %q: %w", m.name, err)
		}
	}
	return nil
}

// parseDigest reads a digest in the one spelling that it may have.
func parseDigest(raw json.RawMessage, alg fsverity.Algorithm) (fsverity.Digest, error) {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return fsverity.Digest{}, fmt.Errorf("%w: not a string", ErrMalformed)
	}
	sum, err := fsverity.ParseDigest(text)
	if err != nil {
		return fsverity.Digest{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if sum.String() != text {
		return fsverity.Digest{}, fmt.Errorf("%w: %q is not in lower case", ErrMalformed, text)
	}
	if sum.Hash() != alg.Hash {
		return fsverity.Digest{}, fmt.Errorf("%w: %q has the length of %v", ErrMixed, text, sum.Hash())
	}
	return sum, nil
}

func parseSignature(raw json.RawMessage) ([]byte, error) {
	if len(raw) > 2*MaxSignature {
		return nil, fmt.Errorf("%w: %d characters, at most %d bytes", ErrTooLarge, len(raw), MaxSignature)
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, fmt.Errorf("%w: not a string", ErrMalformed)
	}
	signature, err := base64.StdEncoding.DecodeString(text)
	// The decoder overlooks line breaks and loose bits at the end.
	if err != nil || base64.StdEncoding.EncodeToString(signature) != text || text == "" {
		return nil, fmt.Errorf("%w: not base64 of a signature", ErrMalformed)
	}
	return signature, nil
}
