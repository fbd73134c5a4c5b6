package oci

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-composefs/composefs/oci/policy"
	"github.com/go-composefs/composefs/oci/seal"
	"github.com/go-composefs/composefs/repository"
)

// VerifyOptions say what an image is held against. The zero value reads nothing but manifest, config and what
// seals say.
type VerifyOptions struct {
	// Rules are sets of rules one of which has to be kept: see [Image.Sources].
	Rules []policy.Rules
	// Boot says that the tree for booting is what matters.
	Boot bool
	// Data also reads all layers: that they are the tars of the config, and that the composefs images are
	// what is made of them.
	Data bool
	// Trust has the certificates by whose owners the image must be signed: its config and tree, and its
	// manifest where a seal can have that. Nil leaves signatures to the rules.
	Trust *seal.Trust
}

// Verified is what was found.
type Verified struct {
	Image    *Image
	Digests  seal.Digests      // computed here
	Seals    []*seal.Report    // of each seal, inline ones first
	Verdicts []*policy.Verdict // of the rules that were kept, or of those that were not
	Layers   int               // that were read
	// KernelSignature says whether the kernel has a signature with the image that is sealed.
	KernelSignature KernelSignature
}

// Verify holds an image of the repository against rules and seals, without asking anybody else. What is not
// kept is [policy.ErrRefused], [ErrCorrupt] or an error of package seal; what was found is returned in any case.
func Verify(ctx context.Context, r *repository.Repository, img *Image, opts VerifyOptions) (*Verified, error) {
	v := &Verified{Image: img}
	where := evidenceOptions{
		from: repositoryStreams{r}, store: digestOnly{r.Algorithm()}, format: r.Meta().Format(), alg: r.Algorithm(), boot: opts.Boot,
	}
	if opts.Data {
		if err := v.readLayers(ctx, r); err != nil {
			return v, err
		}
		if err := v.readImages(ctx, r); err != nil {
			return v, err
		}
		if err := v.compareImages(ctx, where); err != nil {
			return v, err
		}
	}
	e, err := evidence(ctx, img, where)
	if len(e.Computed) > 0 {
		v.Digests = e.Computed[0]
	}
	if err != nil {
		return v, err
	}
	v.readSeals(e, opts.Trust)
	errs := []error{v.askKernel(r, opts.Boot), v.keepRules(e, opts.Rules)}
	if opts.Trust != nil {
		signed := policy.Rule{Action: policy.Signature, Trust: opts.Trust}
		_, err := signed.Check(e)
		errs = append(errs, err)
	}
	return v, errors.Join(errs...)
}

// readLayers compares the tars with the diff_ids of the config.
func (v *Verified) readLayers(ctx context.Context, r *repository.Repository) error {
	for n, l := range v.Image.Layers {
		if err := l.read(ctx, r); err != nil {
			return fmt.Errorf("layer %d of %d: %w", n+1, len(v.Image.Layers), broken(err))
		}
		v.Layers++
	}
	return nil
}

// compareImages compares the canonical composefs image with the one that the layers make.
func (v *Verified) compareImages(ctx context.Context, where evidenceOptions) error {
	if v.Image.Artifact {
		return nil
	}
	variant := Variant{Format: where.format, Transform: TransformCanonical}
	have, err := v.Image.Rootfs(variant)
	if errors.Is(err, ErrNotFound) {
		return nil // it has others
	}
	root, err := flattened(ctx, where.from, where.store, v.Image, PullOptions{})
	if err != nil {
		return err
	}
	made, err := treeDigestAs(root, where.format, where.alg)
	if err == nil && made != have {
		err = fmt.Errorf("%w: the composefs image is %s, and its layers make %s", ErrCorrupt, have, made)
	}
	return err
}

// readSeals looks at all seals. Those in the image itself must be true, by every rule; of others anybody can
// add some.
func (v *Verified) readSeals(e policy.Evidence, trust *seal.Trust) {
	for _, s := range slices.Concat(e.Inline, e.Artifacts) {
		for _, computed := range e.Computed {
			if computed.Algorithm != s.Digests.Algorithm {
				continue
			}
			want := seal.Requirements{}
			if trust != nil {
				want.Verifier = &seal.Verifier{Trust: trust, Now: e.Now}
			}
			v.Seals = append(v.Seals, seal.Verify(computed, s, want))
		}
	}
}

// keepRules returns nil if one of the sets of rules is kept.
func (v *Verified) keepRules(e policy.Evidence, rules []policy.Rules) error {
	var first error
	for i, one := range rules {
		verdicts, err := one.Check(e)
		if err == nil {
			v.Verdicts = verdicts
			return nil
		}
		if i == 0 {
			v.Verdicts, first = verdicts, err
		}
	}
	return first
}
