package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/oci/policy"
	"github.com/go-composefs/composefs/repository"
)

// approvedRootfs returns what is to be mounted for a name: of a container image the digest of its composefs image, if
// policies let it be used; of others the name. A digest stands for itself: who gives one has decided.
func (a *app) approvedRootfs(cmd *cobra.Command, name string) (string, error) {
	bootable, err := cmd.Flags().GetBool("bootable")
	if err != nil {
		return "", err
	}
	file, err := cmd.Flags().GetString("policy")
	if err != nil {
		return "", err
	}
	r, err := a.openRepository(cmd, repository.Options{})
	if err != nil {
		return name, nil // opening the image says why
	}
	defer r.Close()
	if _, err := r.ResolveImage(name); err == nil {
		if bootable || file != "" {
			return "", usagef("%s is no container image: --bootable and --policy are for those", name)
		}
		return name, nil
	}
	img, err := openContainer(cmd.Context(), r, name)
	if errors.Is(err, errNoContainer) || errors.Is(err, oci.ErrName) {
		return name, nil // it may be the beginning of a digest
	}
	if err != nil {
		return "", err
	}
	policies, err := policy.Load(policy.DefaultOptions(file))
	if err != nil {
		return "", err
	}
	if _, err := oci.Verify(cmd.Context(), r, img, oci.VerifyOptions{Rules: rulesFor(policies, name, img), Boot: bootable}); err != nil {
		return "", err
	}
	rootfs, err := rootfsOf(r, img, bootable)
	return rootfs.String(), err
}
