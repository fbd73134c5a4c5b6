package oci

import (
	"context"
	"fmt"
	"io"

	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/oci/flatten"
	"github.com/go-composefs/composefs/tree"
)

// compose makes the composefs images of an image that are wanted and not there: one for each format of the
// repository, and one for booting if that is wanted.
func (p *puller) compose(ctx context.Context, img *Image) error {
	formats := p.r.Meta().ImageFormats()
	missing := func(bootable bool) (list []Variant) {
		for _, f := range formats {
			v := Variant{Format: f, Bootable: bootable, Transform: p.opts.Transform}
			if _, err := img.Rootfs(v); err != nil {
				list = append(list, v)
			}
		}
		return list
	}
	plain, boot := missing(false), []Variant(nil)
	if p.opts.Bootable {
		boot = missing(true)
	}
	if len(plain)+len(boot) == 0 {
		return nil
	}
	root, err := flattened(ctx, p.tx, p.tx.Objects(), img, p.opts)
	if err != nil {
		return err
	}
	put := func(list []Variant) error {
		for _, v := range list {
			d, err := p.tx.PutTreeAs(ctx, root, v.Format)
			if err != nil {
				return fmt.Errorf("composefs image (%s): %w", v, err)
			}
			img.images[v.key()] = d
		}
		return nil
	}
	if err := put(plain); err != nil || len(boot) == 0 {
		return err
	}
	if err := makeBootable(ctx, root, p.tx); err != nil {
		return err
	}
	return put(boot)
}

// flattened returns the tree of an image's layers, with the transform.
//
// store takes the contents of sparse files, which a tar does not have in one piece.
func flattened(ctx context.Context, from streams, store layer.Store, img *Image, opts PullOptions) (*tree.Inode, error) {
	f := flatten.New(flatten.Options{})
	for n, l := range img.Layers {
		name := fmt.Sprintf("%d of %d, %s", n+1, len(img.Layers), l.Digest)
		if err := addLayer(ctx, f, name, from, store, l, opts.Limits); err != nil {
			return nil, err
		}
	}
	root := f.Root()
	flatten.Canonical(root, transforms[opts.Transform])
	return root, nil
}

// makeBootable makes the tree of an image the one for booting. The policy of SELinux that labels it is in the
// objects of the tree itself.
func makeBootable(ctx context.Context, root *tree.Inode, objects streams) error {
	if err := flatten.Bootable(ctx, root, opener{objects}); err != nil {
		return fmt.Errorf("make the image bootable: %w", err)
	}
	return nil
}

// opener opens objects for package flatten. In a repository that requires fs-verity the kernel verifies them,
// in others they were when they were stored.
type opener struct{ streams }

// OpenObject opens the content of a file.
func (o opener) OpenObject(n *tree.Inode) (io.ReadCloser, error) {
	f, err := o.streams.OpenObject(n.Digest)
	if err != nil {
		return nil, err // not f, which would be no nil interface
	}
	return f, nil
}

// transforms are what transforms are to package flatten.
var transforms = map[Transform]flatten.Mode{
	TransformCanonical:  flatten.ModeCanonical,
	TransformUserXattrs: flatten.ModeUserXattrs,
	TransformNone:       flatten.ModeNone,
}

// addLayer adds a layer, which has a name in errors.
func addLayer(ctx context.Context, f *flatten.Flattener, name string, from streams, store layer.Store, l Layer, limits Limits) error {
	s, err := from.OpenStream(l.Stream)
	if err != nil {
		return fmt.Errorf("layer %s: %w", name, err)
	}
	defer s.Close()
	entries := layer.Entries(ctx, s.Reader, layer.EntriesOptions{Store: store, MaxSparse: limits.MaxSparse})
	return f.AddLayer(ctx, name, entries)
}
