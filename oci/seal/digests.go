package seal

import (
	"fmt"
	"iter"

	"github.com/go-composefs/composefs/fsverity"
)

// What a seal may have at most. The kernel takes no longer signature
// (FS_VERITY_MAX_SIGNATURE_SIZE); the others are far beyond what images have.
const (
	MaxSignature = 16128   // bytes of a signature
	MaxManifest  = 4 << 20 // bytes of a manifest
	MaxLayers    = 4096    // layers of an image
)

// Digests are the fs-verity digests of an image's parts. A part that has none has the zero digest.
type Digests struct {
	Algorithm fsverity.Algorithm `json:"algorithm"`
	Manifest  fsverity.Digest    `json:"manifest,omitzero"`
	Config    fsverity.Digest    `json:"config,omitzero"`
	Layers    []fsverity.Digest  `json:"layers,omitempty"` // in the order of the manifest
	Merged    fsverity.Digest    `json:"merged,omitzero"`
	Bootable  fsverity.Digest    `json:"bootable,omitzero"`
}

// Signatures are the signatures of an image's parts, in DER. A part that is not signed has none.
type Signatures struct {
	Manifest []byte   `json:"manifest,omitempty"`
	Config   []byte   `json:"config,omitempty"`
	Layers   [][]byte `json:"layers,omitempty"` // in the order of the manifest
	Merged   []byte   `json:"merged,omitempty"`
	Bootable []byte   `json:"bootable,omitempty"`
}

// Seal is what is said of an image under one algorithm.
type Seal struct {
	Digests    Digests
	Signatures Signatures
}

// Item is one part of an image; Layer counts the layers from 0 where the part is [Layer].
type Item struct {
	Part  Part
	Layer int
}

// String names the item in messages: "config", "layer 0".
func (i Item) String() string {
	if i.Part == Layer {
		return fmt.Sprintf("layer %d", i.Layer)
	}
	return i.Part.String()
}

// items yields all parts of an image of so many layers, in the order of the chain.
func items(layers int) iter.Seq[Item] {
	return func(yield func(Item) bool) {
		for _, p := range parts {
			n := 1
			if p == Layer {
				n = layers
			}
			for i := range n {
				if !yield(Item{p, i}) {
					return
				}
			}
		}
	}
}

// All yields the parts that have a digest, in the order of the chain.
func (d *Digests) All() iter.Seq2[Item, fsverity.Digest] {
	return func(yield func(Item, fsverity.Digest) bool) {
		for i := range items(len(d.Layers)) {
			if sum := d.Of(i); !sum.IsZero() && !yield(i, sum) {
				return
			}
		}
	}
}

// Of returns the digest of a part, zero if it has none.
func (d *Digests) Of(i Item) fsverity.Digest {
	if at := d.place(i); at != nil {
		return *at
	}
	return fsverity.Digest{}
}

func (d *Digests) place(i Item) *fsverity.Digest {
	switch i.Part {
	case Manifest:
		return &d.Manifest
	case Config:
		return &d.Config
	case Layer:
		if i.Layer >= 0 && i.Layer < len(d.Layers) {
			return &d.Layers[i.Layer]
		}
	case Merged:
		return &d.Merged
	case Bootable:
		return &d.Bootable
	}
	return nil
}

// Of returns the signature of a part, nil if it has none. It is not a copy.
func (s *Signatures) Of(i Item) []byte {
	if at := s.place(i); at != nil {
		return *at
	}
	return nil
}

func (s *Signatures) place(i Item) *[]byte {
	switch i.Part {
	case Manifest:
		return &s.Manifest
	case Config:
		return &s.Config
	case Layer:
		if i.Layer >= 0 && i.Layer < len(s.Layers) {
			return &s.Layers[i.Layer]
		}
	case Merged:
		return &s.Merged
	case Bootable:
		return &s.Bootable
	}
	return nil
}

// Any says whether anything is signed.
func (s *Signatures) Any() bool {
	for i := range items(len(s.Layers)) {
		if len(s.Of(i)) > 0 {
			return true
		}
	}
	return false
}

// check refuses what can be on no carrier.
func (s *Seal) check() error {
	d := &s.Digests
	if !d.Algorithm.Valid() {
		return fmt.Errorf("%w: %v", fsverity.ErrAlgorithm, d.Algorithm)
	}
	if len(d.Layers) > MaxLayers {
		return fmt.Errorf("%w: %d layers, at most %d", ErrTooLarge, len(d.Layers), MaxLayers)
	}
	for i, sum := range d.All() {
		if sum.Hash() != d.Algorithm.Hash {
			return fmt.Errorf("digest of %v: %w: %v, not %v", i, ErrMixed, sum.Hash(), d.Algorithm.Hash)
		}
	}
	for i := range items(len(s.Signatures.Layers)) {
		signature := s.Signatures.Of(i)
		if len(signature) > MaxSignature {
			return fmt.Errorf("signature of %v: %w: %d bytes, at most %d", i, ErrTooLarge, len(signature), MaxSignature)
		}
		if len(signature) > 0 && d.Of(i).IsZero() {
			return fmt.Errorf("signature of %v: %w: there is no digest of it", i, ErrIncomplete)
		}
	}
	return nil
}

// require refuses a seal that lacks one of the parts, or that is signed and lacks a signature of
// one of them, or of the bootable tree: what is not signed could be replaced together with its digest.
func (s *Seal) require(parts ...Part) error {
	for _, p := range parts {
		if s.Digests.Of(Item{Part: p}).IsZero() {
			return fmt.Errorf("%w: no digest of %v", ErrIncomplete, p)
		}
	}
	if !s.Signatures.Any() {
		return nil
	}
	if !s.Digests.Bootable.IsZero() {
		parts = append(parts[:len(parts):len(parts)], Bootable)
	}
	for _, p := range parts {
		if len(s.Signatures.Of(Item{Part: p})) == 0 {
			return fmt.Errorf("%w: no signature of %v, although others are signed", ErrIncomplete, p)
		}
	}
	return nil
}
