package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/internal/bytesize"
	"github.com/go-composefs/composefs/oci/transport"
	"github.com/go-composefs/composefs/tree"
)

const exportLong = `export writes the tree of an image to the directory DIR, which must be empty or missing. Where the
filesystem can, files share their blocks with the objects and take no space (reflink).

Each file is compared with the digest in the image while it is written. Owners, modes, times, extended
attributes, hard links, devices and whiteouts are as in the image. Without root that cannot be: then
files belong to the caller, lose their set-id bits, and have only the attributes user.*.

A container image can also be written as one, with its layers, to oci:DIR[:TAG] (a directory in the OCI image
layout), oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME]: as push does it, see there.

If anything fails, nothing of it stays.`

// exportCommand is one command line of export.
type exportCommand struct {
	image, dir string

	path string
	json bool
	push pushCommand // for a container image as one
	tree.ExtractOptions
}

// exportJSON is the output of `export --json`.
type exportJSON struct {
	Directory string `json:"directory"`
	Entries   int    `json:"entries"`
	Files     int    `json:"files"`
	Bytes     uint64 `json:"bytes"`
}

func (a *app) exportCommand() *cobra.Command {
	var x exportCommand
	cmd := &cobra.Command{
		Use:   "export IMAGE DIR",
		Short: "write the tree of an image to a directory, or a container image to a file",
		Long:  exportLong,
		Example: `  sudo composefs export --store /srv/store rootfs.cfs rootfs

  # An image of the repository.
  sudo composefs export debian:12 rootfs

  # A container image for other programs.
  composefs export debian:12 oci-archive:debian.tar:12

  # Only one directory of the tree.
  composefs export --store /srv/store --path /etc rootfs.cfs etc`,
		Args: arguments(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			x.image, x.dir = args[0], args[1]
			if ref, ok := fileDestination(args[1]); ok {
				return a.exportContainer(cmd, &x, ref)
			}
			if x.SkipXattrs && x.UserXattrs {
				return usagef("--skip-xattrs and --user-xattrs contradict each other")
			}
			return a.export(cmd, &x)
		},
	}
	flags := cmd.Flags()
	storesFlag(flags)
	imageFlags(a, cmd)
	flags.StringVar(&x.path, "path", "/", "write only this directory of the tree, a `PATH` in the image")
	flags.BoolVar(&x.NoOwner, "no-owner", false, "leave all files to the caller, without set-id bits")
	flags.BoolVar(&x.SkipXattrs, "skip-xattrs", false, "leave out all extended attributes")
	flags.BoolVar(&x.UserXattrs, "user-xattrs", false, "leave out extended attributes other than user.*")
	flags.BoolVar(&x.SkipDevices, "skip-devices", false, "leave out device nodes, whiteouts with them")
	flags.BoolVar(&x.NoVerify, "no-verify", false, "write contents without comparing them with their digests")
	jobsFlag(flags, &x.Jobs)
	jsonFlag(flags, &x.json)
	progressFlag(cmd, &x.push.transport.progress)
	x.push.flags(cmd)
	return cmd
}

// exportContainer writes a container image to a layout or archive.
func (a *app) exportContainer(cmd *cobra.Command, x *exportCommand, ref transport.Reference) error {
	for _, name := range []string{"path", "no-owner", "skip-xattrs", "user-xattrs", "skip-devices", "no-verify", "store"} {
		if cmd.Flags().Changed(name) {
			return usagef("--%s is for directories, and %s is none", name, ref)
		}
	}
	x.push.json = x.json
	return a.runPush(cmd, &x.push, x.image, ref)
}

// fileDestination says whether a word is a place for a container image that is no registry.
func fileDestination(word string) (transport.Reference, bool) {
	ref, err := transport.Parse(word)
	if err != nil {
		return ref, false
	}
	switch ref.Transport() {
	case transport.OCI, transport.OCIArchive, transport.DockerArchive:
		return ref, true
	}
	return ref, false
}

func (a *app) export(cmd *cobra.Command, x *exportCommand) error {
	ctx := cmd.Context()
	img, err := a.openImage(cmd, x.image)
	if err != nil {
		return err
	}
	defer img.Close()
	root, err := x.load(ctx, img)
	if err != nil {
		return err
	}
	var objects tree.Opener = noObjects{}
	if img.objects != nil {
		objects = img.objects
	}
	if os.Geteuid() != 0 && !x.NoOwner {
		x.NoOwner, x.UserXattrs = true, !x.SkipXattrs
		a.remark("note: without root, files are yours and have no attributes but user.*")
	}
	target, err := makeTarget(x.dir)
	if err != nil {
		return err
	}
	defer target.abort()
	meter := a.startMeter("export")
	x.Progress = meter
	err = tree.Extract(ctx, root, target.File, objects, x.ExtractOptions)
	meter.Done()
	if err == nil {
		err = target.commit()
	}
	if err != nil {
		return err
	}
	return a.printExport(x, root)
}

// load reads the tree that is to be written.
func (x *exportCommand) load(ctx context.Context, img *imageFile) (*tree.Inode, error) {
	root, err := img.tree(ctx)
	if err != nil {
		return nil, err
	}
	if x.path == "/" {
		return root, nil
	}
	dir, err := tree.Resolve(root, x.path)
	if err == nil && !dir.IsDir() {
		err = fmt.Errorf("%s: %w", x.path, tree.ErrNotDir)
	}
	if err != nil {
		return nil, img.failed(err)
	}
	// The first names of hard links may be elsewhere in the tree.
	tree.SettleLinks(dir)
	return dir, nil
}

func (a *app) printExport(x *exportCommand, root *tree.Inode) error {
	j := exportJSON{Directory: x.dir}
	for _, e := range tree.Walk(root) {
		if e.Name != "" {
			j.Entries++
		}
		if e.Inode.IsRegular() && !e.Link {
			j.Files++
			j.Bytes += e.Inode.Size
		}
	}
	if !x.json {
		a.remark("%s, %s", counted(j.Files, "file"), bytesize.String(int64(j.Bytes)))
		return nil
	}
	return a.printJSON(j)
}
