package policy

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Policy is the rules of one file. It is not changed after it was read, and safe for concurrent use.
type Policy struct {
	file    string
	rules   map[key]*Rule
	Default *Rule // for what is in no scope
}

// Builtin returns the policy that holds where there is no file: everything is accepted.
func Builtin() *Policy {
	return &Policy{Default: &Rule{Action: Accept, Unsealed: true}}
}

// File returns the name of the file, empty for the built-in policy.
func (p *Policy) File() string { return p.file }

// For returns the rule for an image: that of the most particular scope that it is in.
func (p *Policy) For(ref Reference) *Rule {
	transport := ref.Transport()
	for _, scope := range ref.Scopes() {
		if r := p.rules[key{transport, normal(transport, scope)}]; r != nil {
			return r
		}
	}
	if r := p.rules[key{transport, ""}]; r != nil {
		return r
	}
	return p.Default
}

// Policies are all that hold: an image must pass each.
type Policies []*Policy

// For returns the rules for an image, one of each policy.
func (p Policies) For(ref Reference) Rules {
	rules := Rules{ref: ref.String()}
	for _, one := range p {
		rules.list = append(rules.list, one.For(ref))
	}
	return rules
}

// Rules are those that one image has to keep.
type Rules struct {
	ref  string
	list []*Rule
}

// All returns the rules, in the order of the policies.
func (r Rules) All() []*Rule { return r.list }

// NeedsSeal says whether a seal has to be there, so that artifacts must be looked for.
func (r Rules) NeedsSeal() bool {
	for _, rule := range r.list {
		if rule.Action == Signature || !rule.Unsealed {
			return true
		}
	}
	return false
}

// CheckManifest refuses, before anything else is fetched, what cannot pass whatever comes: images that are
// rejected, or whose digests are none of those that are asked for. The digests are the manifest's and, if
// it was found in an index, the index's. Errors are [ErrRefused].
func (r Rules) CheckManifest(digests ...digest.Digest) error {
	for _, rule := range r.list {
		if err := rule.CheckManifest(digests...); err != nil {
			return r.refuse(rule, err)
		}
	}
	return nil
}

// Check says whether an image passes all rules, and for each what was found. Errors are [ErrRefused] with the
// reason.
func (r Rules) Check(e Evidence) ([]*Verdict, error) {
	var verdicts []*Verdict
	for _, rule := range r.list {
		v, err := rule.Check(e)
		verdicts = append(verdicts, v)
		if err != nil {
			return verdicts, r.refuse(rule, err)
		}
	}
	return verdicts, nil
}

func (r Rules) refuse(rule *Rule, reason error) error {
	return fmt.Errorf("image %s: %w (%v)", strings.TrimPrefix(r.ref, "docker://"), reason, rule)
}
