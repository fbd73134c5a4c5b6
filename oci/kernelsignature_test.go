package oci

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci/policy"
	"github.com/go-composefs/composefs/oci/seal"
	"github.com/go-composefs/composefs/repository"
)

func digestOf(t *testing.T, text string) fsverity.Digest {
	t.Helper()
	d, err := fsverity.Sum(fsverity.SHA256, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// fakeSigner answers by the text of the signature, and notes what it was asked for.
type fakeSigner struct {
	has   map[fsverity.Digest]string
	fails map[string]error
	asked []string
}

func (f *fakeSigner) SignImage(_ context.Context, image fsverity.Digest, signature []byte) error {
	f.asked = append(f.asked, string(signature))
	if err := f.fails[string(signature)]; err != nil {
		return fmt.Errorf("sign image: %w", err)
	}
	f.has[image] = string(signature)
	return nil
}

func (f *fakeSigner) ImageSignature(image fsverity.Digest) ([]byte, error) {
	if s, ok := f.has[image]; ok {
		return []byte(s), nil
	}
	return nil, nil
}

func TestKernelGetsOneSignatureThatItTakes(t *testing.T) {
	a, b := digestOf(t, "a"), digestOf(t, "b")
	disk := errors.New("disk is broken")
	fails := map[string]error{
		"stranger": fsverity.ErrSignatureRefused, "used": repository.ErrInUse, "far": repository.ErrElsewhere,
		"none": fsverity.ErrNoVerity, "old": fsverity.ErrNoSignatures, "gone": ErrNotFound, "disk": disk,
	}
	tree := func(d fsverity.Digest, signatures ...string) signedTree {
		s := signedTree{digest: d}
		for _, one := range signatures {
			s.signatures = append(s.signatures, []byte(one))
		}
		return s
	}
	for _, tc := range []struct {
		name  string
		has   string // of a
		trees []signedTree
		want  KernelSignature
		asked []string
		err   error
	}{
		{name: "nobody signed it", want: ""},
		{name: "taken", trees: []signedTree{tree(a, "x")}, want: KernelApplied, asked: []string{"x"}},
		{name: "the second is taken", trees: []signedTree{tree(a, "stranger", "x", "y")}, want: KernelApplied, asked: []string{"stranger", "x"}},
		{name: "it has the second", has: "y", trees: []signedTree{tree(a, "x", "y")}, want: KernelApplied},
		{name: "none is taken", trees: []signedTree{tree(a, "stranger", "stranger")}, want: KernelNotTrusted, asked: []string{"stranger", "stranger"}},
		{name: "in use", trees: []signedTree{tree(a, "used")}, want: KernelInUse, asked: []string{"used"}},
		{name: "of another store", trees: []signedTree{tree(a, "far")}, want: KernelElsewhere, asked: []string{"far"}},
		{name: "no fs-verity is asked for once", trees: []signedTree{tree(a, "none", "x")}, want: KernelNoVerity, asked: []string{"none"}},
		{name: "kernel that checks nothing", trees: []signedTree{tree(a, "old", "x")}, want: KernelNotSupported, asked: []string{"old"}},
		{name: "not here", trees: []signedTree{tree(a, "gone")}, want: "", asked: []string{"gone"}},
		{name: "the other one is not here", trees: []signedTree{tree(a, "x"), tree(b, "gone")}, want: KernelApplied, asked: []string{"x", "gone"}},
		{name: "the worse of two is told", trees: []signedTree{tree(a, "stranger"), tree(b, "x")}, want: KernelNotTrusted, asked: []string{"stranger", "x"}},
		{name: "an error is one", trees: []signedTree{tree(a, "disk")}, asked: []string{"disk"}, err: disk},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &fakeSigner{has: map[fsverity.Digest]string{}, fails: fails}
			if tc.has != "" {
				f.has[a] = tc.has
			}
			got, err := giveKernel(t.Context(), f, tc.trees)
			if got != tc.want || !errors.Is(err, tc.err) || !slices.Equal(f.asked, tc.asked) {
				t.Errorf("got %q, %v, asked for %q; want %q, %v, %q", got, err, f.asked, tc.want, tc.err, tc.asked)
			}
		})
	}
}

// Only what a rule has checked goes to the kernel.
func TestOnlyGoodSignaturesOfTreesGoToTheKernel(t *testing.T) {
	merged, boot := digestOf(t, "merged"), digestOf(t, "boot")
	verdict := func(ok bool, mergedState, bootState seal.State, signature string) *policy.Verdict {
		return &policy.Verdict{
			OK: ok,
			Seal: &seal.Report{OK: ok, Parts: []seal.Result{
				{Part: seal.Config, Computed: digestOf(t, "config"), Signature: seal.Good},
				{Part: seal.Merged, Computed: merged, Signature: mergedState},
				{Part: seal.Bootable, Computed: boot, Signature: bootState},
			}},
			Signatures: seal.Signatures{Config: []byte("c"), Merged: []byte("m" + signature), Bootable: []byte("b" + signature)},
		}
	}
	got := signedTrees([]*policy.Verdict{
		{OK: true}, // a rule that asks for nothing
		verdict(false, seal.Good, seal.Good, "0"),
		verdict(true, seal.Good, seal.Unchecked, "1"),
		verdict(true, seal.Good, seal.Good, "1"),
		verdict(true, seal.Good, seal.Absent, "2"),
	})
	want := []signedTree{
		{merged, [][]byte{[]byte("m1"), []byte("m2")}},
		{boot, [][]byte{[]byte("b1")}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(signedTree{}), cmp.Comparer(func(a, b fsverity.Digest) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
