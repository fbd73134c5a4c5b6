package seal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/go-composefs/composefs/fsverity"
)

// Requirements say what [Verify] wants to see.
type Requirements struct {
	// Verifier checks signatures. If it is nil they are not looked at, and Signed must be empty.
	Verifier *Verifier
	// Sealed are parts whose digests must be there; of layers, those of all.
	Sealed []Part
	// Signed are parts that must be signed, and so sealed.
	Signed []Part
}

// State is what has been found out of a digest or a signature.
type State string

// The states of digests and signatures.
const (
	Good      State = "good"
	Bad       State = "bad"       // it is wrong; the error says why
	Absent    State = "absent"    // there is none
	Unchecked State = "unchecked" // there is one, and nothing to check it with
)

// Result is what has been found out of one part.
type Result struct {
	Part      Part            `json:"part"`
	Layer     *int            `json:"layer,omitempty"` // which one, from 0
	Computed  fsverity.Digest `json:"computed,omitzero"`
	Sealed    fsverity.Digest `json:"sealed,omitzero"`
	Digest    State           `json:"digest"`
	Signature State           `json:"signature"`
	Signer    *Identity       `json:"signer,omitempty"`
	Reason    string          `json:"reason,omitempty"`

	err error
}

// Err returns why the part is refused, nil if it is not.
func (r *Result) Err() error { return r.err }

// Report is what [Verify] has found out: the parts in the order of the chain.
type Report struct {
	Algorithm fsverity.Algorithm `json:"algorithm"`
	OK        bool               `json:"ok"`
	Parts     []Result           `json:"parts"`

	err error
}

// Err returns why the image is refused: the reasons of all parts, of which the first comes first. They
// are [ErrMissing], [ErrWrongDigest], [ErrExpired], [ErrUntrusted], [ErrMalformed] and [ErrMixed], for
// errors.Is. It is nil if the image is good.
func (r *Report) Err() error { return r.err }

// Signers returns who has signed, each once.
func (r *Report) Signers() []*Identity {
	var ids []*Identity
	for i := range r.Parts {
		id := r.Parts[i].Signer
		if id != nil && !slices.ContainsFunc(ids, func(other *Identity) bool { return other.Fingerprint == id.Fingerprint }) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Verify compares a seal with the digests that were computed from the image here. Each digest of the
// seal for which there is a computed one must be equal to it; each signature must be of the computed
// digest and by somebody trusted, whether it is required or not; and what is required must be there.
// A digest that nobody has computed is unchecked, which is not enough for what is required.
//
// It is the whole chain if the caller has computed what [Documents] does of the manifest, whose digest
// is known, and the trees from layers that were checked against the configuration.
func Verify(computed Digests, s Seal, want Requirements) *Report {
	r := &Report{Algorithm: computed.Algorithm}
	var reasons []error
	if s.Digests.Algorithm != computed.Algorithm && s.Digests.Algorithm != (fsverity.Algorithm{}) {
		reasons = append(reasons, fmt.Errorf("verify seal: %w: %v, computed are %v", ErrMixed, s.Digests.Algorithm, computed.Algorithm))
	}
	if want.Verifier == nil && len(want.Signed) > 0 {
		reasons = append(reasons, fmt.Errorf("verify seal: %w: signatures are required, and no certificates to check them with", ErrUntrusted))
	}
	layers := max(len(computed.Layers), len(s.Digests.Layers))
	if layers == 0 && (slices.Contains(want.Sealed, Layer) || slices.Contains(want.Signed, Layer)) {
		reasons = append(reasons, fmt.Errorf("verify seal: digests of the layers are %w", ErrMissing))
	}
	var refused refusals
	for i := range items(layers) {
		result := verifyItem(&computed, &s, i, &want)
		if result.err != nil {
			result.Reason = result.err.Error()
			refused.add(i, result.err)
		}
		if result.Digest != Absent || result.Signature != Absent || result.err != nil {
			r.Parts = append(r.Parts, result)
		}
	}
	r.err = errors.Join(append(reasons, refused.errors()...)...)
	r.OK = r.err == nil
	return r
}

func verifyItem(computed *Digests, s *Seal, i Item, want *Requirements) Result {
	r := Result{
		Part: i.Part, Computed: computed.Of(i), Sealed: s.Digests.Of(i),
		Digest: Absent, Signature: Absent,
	}
	if i.Part == Layer {
		r.Layer = &i.Layer
	}
	mustSign := slices.Contains(want.Signed, i.Part)
	must := mustSign || slices.Contains(want.Sealed, i.Part)
	switch {
	case r.Sealed.IsZero():
		if must {
			r.err = fmt.Errorf("digest in the seal is %w", ErrMissing)
		}
	case r.Computed.IsZero():
		r.Digest = Unchecked
		if must {
			r.err = fmt.Errorf("digest of the image itself is %w", ErrMissing)
		}
	case r.Sealed != r.Computed:
		r.Digest = Bad
		r.err = fmt.Errorf("%w: the image has %v, the seal says %v", ErrWrongDigest, r.Computed, r.Sealed)
	default:
		r.Digest = Good
	}
	signature := s.Signatures.Of(i)
	switch {
	case len(signature) == 0:
		if mustSign && r.err == nil {
			r.err = fmt.Errorf("signature is %w", ErrMissing)
		}
	case want.Verifier == nil || r.Digest != Good:
		// Signatures count for what the image is, not for what the seal says that it is.
		r.Signature = Unchecked
	default:
		id, err := want.Verifier.Check(r.Computed, signature)
		r.Signature, r.Signer = Good, id
		if err != nil {
			r.Signature = Bad
			err = whoseInstead(computed, i, signature, want.Verifier, err)
			r.err = err
		}
	}
	return r
}

// maxGuesses is the number of layers up to which wrong signatures are compared with all parts.
const maxGuesses = 16

// whoseInstead adds to the reason of a signature that is of another digest which part it is of, if it is of
// one of this image.
func whoseInstead(computed *Digests, i Item, signature []byte, v *Verifier, reason error) error {
	if !errors.Is(reason, ErrWrongDigest) || len(computed.Layers) > maxGuesses {
		return reason
	}
	for other, sum := range computed.All() {
		if other == i {
			continue
		}
		if _, err := v.Check(sum, signature); err == nil {
			return fmt.Errorf("%w (it is the signature of %v)", reason, other)
		}
	}
	return reason
}
