package oci

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci/policy"
	"github.com/go-composefs/composefs/oci/seal"
	"github.com/go-composefs/composefs/repository"
)

// KernelSignature says whether the kernel has the signature of a seal with a composefs image, and checks it
// whenever somebody opens that. It is empty where there is none to give it: no rule asked for a signature, or the
// image that is sealed, the canonical one of format V1, is not in the repository.
type KernelSignature string

// What there is to say, the best first.
const (
	KernelApplied      KernelSignature = "applied"
	KernelNone         KernelSignature = "none"             // only from [Verify]: the image has none
	KernelInUse        KernelSignature = "in use"           // somebody has the image open or mounted
	KernelElsewhere    KernelSignature = "in another store" // where it cannot be changed
	KernelNotTrusted   KernelSignature = "key not trusted"  // the kernel does not take it: its keyring lacks the key
	KernelNotSupported KernelSignature = "not supported"    // the kernel does not check signatures, or not such
	KernelNoVerity     KernelSignature = "no fs-verity"     // of the image, or of the filesystem
)

// kernelStates is the order of what there is to say.
var kernelStates = []KernelSignature{
	"", KernelApplied, KernelNone, KernelInUse, KernelElsewhere, KernelNotTrusted, KernelNotSupported, KernelNoVerity,
}

// worse returns the state of two images together.
func (k KernelSignature) worse(other KernelSignature) KernelSignature {
	if slices.Index(kernelStates, other) > slices.Index(kernelStates, k) {
		return other
	}
	return k
}

// kernelSignatureOf says what the error means of giving the kernel a signature. Other errors stay errors.
func kernelSignatureOf(err error) (KernelSignature, error) {
	switch {
	case err == nil:
		return KernelApplied, nil
	case errors.Is(err, fsverity.ErrNoVerity):
		return KernelNoVerity, nil
	case errors.Is(err, fsverity.ErrNoSignatures):
		return KernelNotSupported, nil
	case errors.Is(err, fsverity.ErrSignatureRefused):
		return KernelNotTrusted, nil
	case errors.Is(err, repository.ErrInUse):
		return KernelInUse, nil
	case errors.Is(err, repository.ErrElsewhere):
		return KernelElsewhere, nil
	case errors.Is(err, ErrNotFound):
		return "", nil
	}
	return "", err
}

// signedTree is a composefs image with signatures of its digest.
type signedTree struct {
	digest     fsverity.Digest
	signatures [][]byte
}

// signedTrees returns the trees whose signatures rules have found to be good.
func signedTrees(verdicts []*policy.Verdict) []signedTree {
	var list []signedTree
	for _, v := range verdicts {
		if !v.OK || v.Seal == nil {
			continue
		}
		for _, part := range v.Seal.Parts {
			signature := v.Signatures.Of(seal.Item{Part: part.Part})
			if part.Part != seal.Merged && part.Part != seal.Bootable || part.Signature != seal.Good || len(signature) == 0 {
				continue
			}
			at := slices.IndexFunc(list, func(t signedTree) bool { return t.digest == part.Computed })
			if at < 0 {
				at = len(list)
				list = append(list, signedTree{digest: part.Computed})
			}
			t := &list[at]
			if !slices.ContainsFunc(t.signatures, func(other []byte) bool { return bytes.Equal(other, signature) }) {
				t.signatures = append(t.signatures, signature)
			}
		}
	}
	return list
}

// imageSigner is the repository, as far as signatures for the kernel go.
type imageSigner interface {
	SignImage(ctx context.Context, image fsverity.Digest, signature []byte) error
	ImageSignature(image fsverity.Digest) ([]byte, error)
}

// giveKernel gives the kernel the signatures of trees that are images of the repository. One of each is enough,
// of somebody whose key the kernel has.
func giveKernel(ctx context.Context, r imageSigner, trees []signedTree) (KernelSignature, error) {
	var all KernelSignature
	for _, t := range trees {
		one, err := giveKernelOne(ctx, r, t)
		if err != nil {
			return all, err
		}
		all = all.worse(one)
	}
	return all, nil
}

func giveKernelOne(ctx context.Context, r imageSigner, t signedTree) (KernelSignature, error) {
	// It may have one of them that is not the first.
	had, err := r.ImageSignature(t.digest)
	if err == nil && slices.ContainsFunc(t.signatures, func(s []byte) bool { return bytes.Equal(s, had) }) {
		return KernelApplied, nil
	}
	for n, signature := range t.signatures {
		state, err := kernelSignatureOf(r.SignImage(ctx, t.digest, signature))
		if err != nil || state != KernelNotTrusted || n == len(t.signatures)-1 {
			return state, err
		}
	}
	return "", nil
}

// accept holds what was pulled, and is here already, against the rules, and gives the kernel its signature.
func (p *puller) accept(ctx context.Context, pulled *Pulled) error {
	if err := p.approve(ctx, pulled); err != nil {
		return err
	}
	return p.tellKernel(ctx, pulled)
}

// tellKernel gives the kernel the signature of an image that the rules let in.
func (p *puller) tellKernel(ctx context.Context, pulled *Pulled) error {
	var err error
	pulled.KernelSignature, err = giveKernel(ctx, p.r, signedTrees(pulled.Verdicts))
	return err
}

// tellKernel gives the kernel the signatures of a new seal.
func (s *Sealed) tellKernel(ctx context.Context, r *repository.Repository, signatures seal.Signatures) error {
	var trees []signedTree
	for _, part := range []seal.Part{seal.Merged, seal.Bootable} {
		i := seal.Item{Part: part}
		if signature := signatures.Of(i); len(signature) > 0 {
			trees = append(trees, signedTree{s.Digests.Of(i), [][]byte{signature}})
		}
	}
	var err error
	s.KernelSignature, err = giveKernel(ctx, r, trees)
	return err
}

// askKernel finds out whether the image that is sealed has a signature in the kernel.
func (v *Verified) askKernel(r imageSigner, boot bool) error {
	image := v.Digests.Merged
	if boot {
		image = v.Digests.Bootable
	}
	if image.IsZero() {
		return nil
	}
	signature, err := r.ImageSignature(image)
	if err == nil && signature == nil {
		v.KernelSignature = KernelNone
		return nil
	}
	v.KernelSignature, err = kernelSignatureOf(err)
	return err
}
