package policy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci/seal"
)

// maxFile is the size of a policy in bytes.
const maxFile = 256 << 10

// fileRule is a rule as it is in the file.
type fileRule struct {
	Action       string   `toml:"action"`
	Unsealed     *bool    `toml:"unsealed"`
	Digests      []string `toml:"digests"`
	Certificates []string `toml:"certificates"`
	Signers      []string `toml:"signers"`
	Signed       []string `toml:"signed"`
}

// ruleFields are the names of the fields, which the decoder would take in any case.
var ruleFields = []string{"action", "unsealed", "digests", "certificates", "signers", "signed"}

type fileRules struct {
	Default *fileRule            `toml:"default"`
	Image   map[string]*fileRule `toml:"image"`
}

// Parse reads a policy. name is the file's, for messages, and for the directory in which certificates
// are looked for that have no absolute path. Errors are [ErrSyntax] with the line, or those of
// reading certificates.
func Parse(data []byte, name string) (*Policy, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("read policy %s: %w: more than %d bytes", name, ErrSyntax, maxFile)
	}
	p, err := parse(data, name)
	if err != nil {
		return nil, fmt.Errorf("read policy %s: %w", name, err)
	}
	return p, nil
}

func parse(data []byte, name string) (*Policy, error) {
	var file fileRules
	md, err := toml.Decode(string(data), &file)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrSyntax, plain(err))
	}
	f := &source{data: string(data), name: name, keys: md.Keys()}
	for _, k := range md.Keys() {
		if !known(k) {
			return nil, f.fault(k, errors.New("unknown field"))
		}
	}
	if file.Default == nil {
		return nil, fmt.Errorf("%w: there is no [default]", ErrSyntax)
	}
	p := &Policy{file: name, rules: map[key]*Rule{}}
	if p.Default, err = f.rule(toml.Key{"default"}, file.Default); err != nil {
		return nil, err
	}
	for _, name := range scopes(md.Keys(), file.Image) {
		k := toml.Key{"image", name}
		scope, err := parseScope(name)
		if err != nil {
			return nil, f.fault(k, err)
		}
		if other := p.rules[scope]; other != nil {
			return nil, f.fault(k, fmt.Errorf("the same scope as %q", other.Scope))
		}
		r, err := f.rule(k, file.Image[name])
		if err != nil {
			return nil, err
		}
		r.Scope = name
		p.rules[scope] = r
	}
	return p, nil
}

// scopes returns the scopes in the order of the file, so that of several faults the first is told.
func scopes(keys []toml.Key, images map[string]*fileRule) []string {
	first := map[string]int{}
	for i, k := range keys {
		if len(k) < 2 || k[0] != "image" {
			continue
		}
		if _, seen := first[k[1]]; !seen {
			first[k[1]] = i
		}
	}
	return slices.SortedFunc(maps.Keys(images), func(a, b string) int { return cmp.Compare(first[a], first[b]) })
}

// known says whether a key is one of a policy, in the very spelling.
func known(k toml.Key) bool {
	switch len(k) {
	case 1:
		return k[0] == "default" || k[0] == "image"
	case 2:
		return k[0] == "image" || k[0] == "default" && slices.Contains(ruleFields, k[1])
	case 3:
		return k[0] == "image" && slices.Contains(ruleFields, k[2])
	}
	return false
}

// source is the file that is read.
type source struct {
	data, name string
	keys       []toml.Key
}

// rule reads one rule.
func (f *source) rule(at toml.Key, in *fileRule) (*Rule, error) {
	r := &Rule{File: f.name, Action: Action(in.Action), Signers: in.Signers}
	field := func(name string) toml.Key { return append(at[:len(at):len(at)], name) }
	var unused []string
	switch r.Action {
	case Accept:
		unused = []string{"digests", "certificates", "signers", "signed"}
	case Reject:
		unused = []string{"unsealed", "digests", "certificates", "signers", "signed"}
	case Digest:
		unused = []string{"certificates", "signers", "signed"}
		if len(in.Digests) == 0 {
			return nil, f.fault(at, errors.New("action digest without digests"))
		}
	case Signature:
		unused = []string{"unsealed"}
		if len(in.Certificates) == 0 {
			return nil, f.fault(at, errors.New("action signature without certificates"))
		}
	case "":
		return nil, f.fault(at, errors.New("no action"))
	default:
		return nil, f.fault(field("action"), fmt.Errorf("action %q is none of accept, digest, signature and reject", r.Action))
	}
	for _, name := range unused {
		if in.has(name) {
			return nil, f.fault(field(name), fmt.Errorf("it means nothing with action %s", r.Action))
		}
	}
	r.Unsealed = r.Action != Signature && (in.Unsealed == nil || *in.Unsealed)
	for _, text := range in.Digests {
		if err := r.addDigest(text); err != nil {
			return nil, f.fault(field("digests"), err)
		}
	}
	for _, pattern := range in.Signers {
		if err := checkSigner(pattern); err != nil {
			return nil, f.fault(field("signers"), err)
		}
	}
	for _, text := range in.Signed {
		part, err := seal.ParsePart(text)
		if err != nil {
			return nil, f.fault(field("signed"), err)
		}
		r.Signed = append(r.Signed, part)
	}
	var err error
	if r.Trust, err = f.trust(in.Certificates); err != nil {
		return nil, f.fault(field("certificates"), err)
	}
	return r, nil
}

func (in *fileRule) has(name string) bool {
	switch name {
	case "unsealed":
		return in.Unsealed != nil
	case "digests":
		return in.Digests != nil
	case "certificates":
		return in.Certificates != nil
	case "signers":
		return in.Signers != nil
	case "signed":
		return in.Signed != nil
	}
	return false
}

// addDigest reads a digest of a manifest, or of a tree under an algorithm.
func (r *Rule) addDigest(text string) error {
	name, sum, ok := strings.Cut(text, ":")
	if !ok || !strings.HasPrefix(name, "fsverity-") {
		d := digest.Digest(text)
		if err := d.Validate(); err != nil {
			return fmt.Errorf("digest %q: %w", text, err)
		}
		r.Manifests = append(r.Manifests, d)
		return nil
	}
	alg, err := fsverity.ParseAlgorithm(name)
	if err != nil {
		return fmt.Errorf("digest %q: %w", text, err)
	}
	d, err := fsverity.ParseDigest(sum)
	if err != nil {
		return fmt.Errorf("digest %q: %w", text, err)
	}
	if d.Hash() != alg.Hash {
		return fmt.Errorf("digest %q: it has the length of %v", text, d.Hash())
	}
	r.Trees = append(r.Trees, TreeDigest{alg, d})
	return nil
}

// trust reads the files of certificates.
func (f *source) trust(files []string) (*seal.Trust, error) {
	t := seal.NewTrust()
	for _, file := range files {
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(f.name), file)
		}
		certificates, err := seal.LoadCertificates(file)
		if err != nil {
			return nil, err
		}
		t.Add(certificates...)
	}
	return t, nil
}
