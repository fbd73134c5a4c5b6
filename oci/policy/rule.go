package policy

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci/seal"
)

// Action is what a rule asks of an image.
type Action string

// The actions.
const (
	Accept    Action = "accept"
	Reject    Action = "reject"
	Digest    Action = "digest"
	Signature Action = "signature"
)

// Rule is what a policy asks of the images of a scope.
type Rule struct {
	File  string // the policy's file; empty for the built-in policy
	Scope string // as it is in the file; empty for the default

	Action   Action
	Unsealed bool // whether an image without a seal can pass

	Manifests []digest.Digest // of manifests and indexes, one of which is asked for
	Trees     []TreeDigest    // of merged trees, one of which will do as well

	Trust   *seal.Trust // whose signatures count
	Signers []string    // patterns, one of which the signer must match; empty for any
	Signed  []seal.Part // what must be signed; empty for the usual
}

// TreeDigest is the digest of a merged tree under an algorithm.
type TreeDigest struct {
	Algorithm fsverity.Algorithm
	Digest    fsverity.Digest
}

// String says where the rule is, for messages.
func (r *Rule) String() string {
	scope, file := "rule for "+r.Scope, r.File
	if r.Scope == "" {
		scope = "default rule"
	}
	if file == "" {
		file = "built-in policy"
	}
	return fmt.Sprintf("%s of %s", scope, file)
}

// pinned says whether the rule names digests.
func (r *Rule) pinned() bool { return len(r.Manifests)+len(r.Trees) > 0 }

// signerKinds are the prefixes of patterns for signers, with what of a signer they mean.
var signerKinds = map[string]func(*seal.Identity) []string{
	"subject": func(id *seal.Identity) []string { return []string{id.Subject} },
	"cn":      func(id *seal.Identity) []string { return []string{id.Certificate.Subject.CommonName} },
	"email":   func(id *seal.Identity) []string { return lower(id.Emails) },
	"uri":     func(id *seal.Identity) []string { return id.URIs },
	"dns":     func(id *seal.Identity) []string { return lower(id.Names) },
	"sha256":  func(id *seal.Identity) []string { return []string{id.Fingerprint} },
}

func lower(texts []string) []string {
	out := make([]string, len(texts))
	for i, s := range texts {
		out[i] = strings.ToLower(s)
	}
	return out
}

// checkSigner refuses a pattern of no known kind.
func checkSigner(pattern string) error {
	kind, rest, _ := strings.Cut(pattern, ":")
	if signerKinds[kind] == nil || rest == "" {
		return fmt.Errorf("signer %q is none of subject:, cn:, email:, uri:, dns: and sha256: with a text", pattern)
	}
	return nil
}

// accepts says whether the rule wants this signer, of those whom it trusts.
func (r *Rule) accepts(id *seal.Identity) error {
	if len(r.Signers) == 0 {
		return nil
	}
	for _, pattern := range r.Signers {
		kind, rest, _ := strings.Cut(pattern, ":")
		if kind == "email" || kind == "dns" || kind == "sha256" {
			rest = strings.ToLower(rest)
		}
		for _, text := range signerKinds[kind](id) {
			if match(rest, text) {
				return nil
			}
		}
	}
	return fmt.Errorf("%q is none of the signers that are asked for: %s", id.Subject, strings.Join(r.Signers, ", "))
}

// match says whether text is the pattern, in which * stands for any text.
func match(pattern, text string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, first)
	if !ok {
		return false
	}
	// What is between stars is taken as early as possible, the end from the end.
	for {
		part, next, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(text, part)
		}
		at := strings.Index(text, part)
		if at < 0 {
			return false
		}
		text, rest = text[at+len(part):], next
	}
}
