package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/oci/seal"
)

// Evidence is what is known of an image when it is to be used.
type Evidence struct {
	// Digests are the manifest's and, if it was found in an index, the index's. They have been
	// checked against the bytes.
	Digests []digest.Digest
	// Computed are the digests computed from the image here, one set for each algorithm.
	Computed []seal.Digests
	// Inline are the seals in the manifest's annotations.
	Inline []seal.Seal
	// Artifacts are the seals of artifacts that refer to the manifest.
	Artifacts []seal.Seal
	// Boot says that the bootable tree is going to be used, and not the merged one.
	Boot bool
	// Now is the time at which certificates must be valid; [time.Now] if nil.
	Now func() time.Time
}

// Verdict is what was found when an image was held against a rule.
type Verdict struct {
	File    string           `json:"policy,omitempty"`
	Scope   string           `json:"scope,omitempty"`
	Action  Action           `json:"action"`
	OK      bool             `json:"ok"`
	Reason  string           `json:"reason,omitempty"`
	Seal    *seal.Report     `json:"seal,omitempty"` // the one that passed, else the first
	Signers []*seal.Identity `json:"signers,omitempty"`
	// Signatures are those of the seal that passed, if the rule asks for signatures. Seal says which are good.
	Signatures seal.Signatures `json:"-"`
}

// CheckManifest is [Rules.CheckManifest] for one rule.
func (r *Rule) CheckManifest(digests ...digest.Digest) error {
	if r.Action == Reject {
		return fmt.Errorf("%w: such images are rejected", ErrRefused)
	}
	// A tree's digest is known only when the tree is.
	if len(r.Manifests) > 0 && len(r.Trees) == 0 && !r.namesManifest(digests) {
		return r.notPinned(digests)
	}
	return nil
}

func (r *Rule) namesManifest(digests []digest.Digest) bool {
	return slices.ContainsFunc(digests, func(d digest.Digest) bool { return slices.Contains(r.Manifests, d) })
}

func (r *Rule) notPinned(digests []digest.Digest) error {
	texts := make([]string, len(digests))
	for i, d := range digests {
		texts[i] = d.String()
	}
	return fmt.Errorf("%w: %w: %s, none of the %d that are asked for", ErrRefused, seal.ErrWrongDigest, strings.Join(texts, ", "), len(r.Manifests)+len(r.Trees))
}

// Check says whether an image passes the rule. The error is [ErrRefused] with the reason, and nil if it
// passes; there is a verdict in any case.
func (r *Rule) Check(e Evidence) (*Verdict, error) {
	v := &Verdict{File: r.File, Scope: r.Scope, Action: r.Action}
	err := r.check(&e, v)
	if err != nil {
		v.Reason = err.Error()
		return v, err
	}
	v.OK = true
	return v, nil
}

func (r *Rule) check(e *Evidence, v *Verdict) error {
	if err := r.CheckManifest(e.Digests...); err != nil {
		return err
	}
	if r.pinned() && !r.namesManifest(e.Digests) && !r.namesTree(e.Computed) {
		return r.notPinned(e.Digests)
	}
	// What an image says of itself must be true, whatever else is asked for.
	for i := range e.Inline {
		report := verify(e, &e.Inline[i], seal.Requirements{})
		if report != nil && !report.OK {
			v.Seal = report
			return fmt.Errorf("%w: its own seal: %w", ErrRefused, report.Err())
		}
	}
	want := seal.Requirements{Sealed: []seal.Part{tree(e)}}
	switch {
	case r.Action == Signature:
		want.Verifier = &seal.Verifier{Trust: r.Trust, Now: e.Now, Accept: r.accepts}
	case r.Unsealed:
		return nil
	}
	return r.checkSeals(e, v, want)
}

func (r *Rule) namesTree(computed []seal.Digests) bool {
	for _, d := range computed {
		if slices.Contains(r.Trees, TreeDigest{d.Algorithm, d.Merged}) {
			return true
		}
	}
	return false
}

// tree is the part that is going to be used.
func tree(e *Evidence) seal.Part {
	if e.Boot {
		return seal.Bootable
	}
	return seal.Merged
}

// checkSeals looks for a seal that has what is wanted. That others have it not says nothing: anybody can
// add some.
func (r *Rule) checkSeals(e *Evidence, v *Verdict, want seal.Requirements) error {
	var reasons []error
	for _, s := range slices.Concat(e.Inline, e.Artifacts) {
		if want.Verifier != nil {
			want.Signed = r.signedParts(e, &s)
		}
		report := verify(e, &s, want)
		if report == nil {
			reasons = append(reasons, fmt.Errorf("a seal under %v cannot be compared: digests of that algorithm are %w here", s.Digests.Algorithm, seal.ErrMissing))
			continue
		}
		if report.OK {
			v.Seal, v.Signers = report, report.Signers()
			if want.Verifier != nil {
				v.Signatures = s.Signatures
			}
			return nil
		}
		if v.Seal == nil {
			v.Seal = report
		}
		reasons = append(reasons, report.Err())
	}
	if len(reasons) == 0 {
		what := "seal"
		if want.Verifier != nil {
			what = "signature"
		}
		return fmt.Errorf("%w: %s is %w", ErrRefused, what, seal.ErrMissing)
	}
	return fmt.Errorf("%w: %w", ErrRefused, errors.Join(reasons...))
}

// signedParts returns what must be signed in a seal: what the rule says, the usual if it says nothing, and
// the tree that is used in any case.
func (r *Rule) signedParts(e *Evidence, s *seal.Seal) []seal.Part {
	signed := slices.Clone(r.Signed)
	if len(signed) == 0 {
		signed = []seal.Part{seal.Config, seal.Merged}
		if !s.Digests.Manifest.IsZero() {
			signed = append(signed, seal.Manifest)
		}
	}
	return append(signed, tree(e))
}

// verify compares a seal with what was computed under its algorithm, nil if nothing was.
func verify(e *Evidence, s *seal.Seal, want seal.Requirements) *seal.Report {
	at := slices.IndexFunc(e.Computed, func(d seal.Digests) bool { return d.Algorithm == s.Digests.Algorithm })
	if at < 0 {
		return nil
	}
	return seal.Verify(e.Computed[at], *s, want)
}
