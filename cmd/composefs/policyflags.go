package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/oci/policy"
	"github.com/go-composefs/composefs/oci/transport"
)

// policyFlag takes the file of a policy, which holds beside the system's.
func policyFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "policy", "", "`FILE` of the policy that the image must pass beside the system's (default: $COMPOSEFS_POLICY, else the user's own)")
}

// localReference is what policies know of an image that nobody knows the origin of.
type localReference string

// Transport, Scopes and String make it a [policy.Reference], which is in no scope.
func (localReference) Transport() string { return "repository" }

// Scopes see Transport.
func (localReference) Scopes() []string { return nil }

// String see Transport.
func (l localReference) String() string { return string(l) }

// rulesFor returns the rules for an image of the repository: those of each reference that it was pulled from, one
// of which it has to keep.
func rulesFor(p policy.Policies, tag string, img *oci.Image) []policy.Rules {
	var list []policy.Rules
	for _, source := range img.Sources() {
		if ref, err := transport.Parse(source); err == nil {
			list = append(list, p.For(ref))
		}
	}
	if len(list) > 0 {
		return list
	}
	if ref, err := transport.Parse(tag); err == nil && strings.Contains(tag, "/") {
		return []policy.Rules{p.For(ref)}
	}
	return []policy.Rules{p.For(localReference(tag))}
}

// verdictText says by what an image was let in.
func verdictText(verdicts []*policy.Verdict) string {
	var words []string
	for _, v := range verdicts {
		var signers []string
		for _, s := range v.Signers {
			signers = append(signers, s.Subject)
		}
		switch {
		case len(signers) > 0:
			words = append(words, "signed by "+strings.Join(signers, ", "))
		case v.Seal != nil && v.Seal.OK:
			words = append(words, "sealed")
		case v.Action == policy.Digest:
			words = append(words, "pinned by its digest")
		}
	}
	if len(words) == 0 {
		return "no rule asks for a seal"
	}
	return strings.Join(words, "; ")
}
