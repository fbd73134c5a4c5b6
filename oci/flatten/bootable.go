package flatten

import (
	"context"
	"errors"

	"github.com/go-composefs/composefs/oci/selinux"
	"github.com/go-composefs/composefs/tree"
)

// Bootable makes of the tree of an operating system, after [Canonical], the one that it boots: /boot and
// /sysroot, where something else is mounted then, are empty and get the root's time, and all files get the
// labels of the SELinux policy in the tree, or none if there is no policy. It is read from objects, which
// answers for its integrity.
//
// Where one of the directories is missing composefs-rs fails, and here it stays missing. Errors are those of
// [selinux.Load] and [selinux.Policy.Relabel]; the tree is of no use then.
func Bootable(ctx context.Context, root *tree.Inode, objects tree.Opener) error {
	for _, name := range []string{"boot", "sysroot"} {
		if dir := root.Lookup(name); dir != nil && dir.IsDir() {
			dir.Children = nil
			dir.Mtime = root.Mtime
		}
	}
	countLinks(root)
	policy, err := selinux.Load(ctx, root, objects)
	switch {
	case errors.Is(err, selinux.ErrNoPolicy):
		selinux.RemoveLabels(root)
		return nil
	case err != nil:
		return err
	}
	if err := policy.Relabel(ctx, root); err != nil {
		return err
	}
	countLinks(root)
	return nil
}
