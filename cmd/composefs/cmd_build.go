package main

import (
	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/mount"
)

const buildLong = `build makes an image of the directory SOURCE, or of a dump with --from-file, and prints the image's
fs-verity digest. The digest stands for the whole tree: equal trees have equal digests, and who trusts
the digest can trust the tree.

With --store the contents of files go into that directory, each content once; they are on disk before
the image appears. Without it the image is made all the same, of use where the objects are already.
Files of up to --inline-max bytes are in the image itself.

Owners, modes, times, extended attributes, hard links, devices and whiteouts are kept. Times later than
the environment's SOURCE_DATE_EPOCH, if it is set, are lowered to it.

IMAGE is written under its name when it is complete; "-" is standard output. SOURCE "-" is a dump from
standard input.`

const buildExample = `  composefs build --store /srv/store /usr/share/doc doc.cfs

  # Only if the kernel verifies the objects and the image from now on.
  composefs build --store /srv/store --verity=require rootfs rootfs.cfs

  # Leave out what is of no use to others; a repeatable image.
  composefs build --exclude '*.pyc' --exclude /var/cache/ --mtime-clamp 2024-01-01 rootfs rootfs.cfs

  # Change an image as text.
  composefs dump a.cfs | sed 's/ 1000 1000 / 0 0 /' | composefs build - b.cfs`

// buildCommand is one command line of build.
type buildCommand struct {
	source, image string

	fromFile   bool
	digestOnly bool
	json       bool
	store      string
	verity     mount.Verity
	format     erofs.Format
	hash       fsverity.Hash
	scan       scanOptions
}

// buildJSON is the output of `build --json`.
type buildJSON struct {
	Image  string          `json:"image,omitempty"`
	Digest fsverity.Digest `json:"digest"`
	Format string          `json:"format"`
	Size   int64           `json:"size"`
	Verity bool            `json:"verity"`
	contentsJSON
}

func (a *app) buildCommand() *cobra.Command {
	b := buildCommand{
		verity: mount.VerityTry, format: erofs.FormatV1, hash: fsverity.HashSHA256,
	}
	cmd := &cobra.Command{
		Use:     "build SOURCE IMAGE",
		Short:   "make an image of a directory or a dump",
		Long:    buildLong,
		Example: buildExample,
		Args: func(cmd *cobra.Command, args []string) error {
			if b.digestOnly {
				return arguments(1, 1)(cmd, args)
			}
			return arguments(2, 2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			b.source = args[0]
			if !b.digestOnly {
				b.image = args[1]
			}
			if err := b.check(cmd); err != nil {
				return err
			}
			return a.build(cmd.Context(), &b)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&b.store, "store", "", "`DIR` for the contents of files; it is made if it is missing")
	_ = cobra.MarkFlagDirname(flags, "store") // just defined
	textFlag(cmd, &b.format, "format", "image format: v0 or v1 of the C tools, v2 of older composefs-rs, or auto as mkcomposefs chooses", "v0", "v1", "v2", "auto")
	hashFlag(cmd, &b.hash)
	textFlag(cmd, &b.verity, "verity", "enable fs-verity on objects and image: off, try or require", "off", "try", "require")
	flags.BoolVar(&b.fromFile, "from-file", false, "SOURCE is a dump, as dump prints it")
	b.scan.flags(cmd)
	flags.BoolVar(&b.digestOnly, "print-digest-only", false, "print the digest and write no image")
	jsonFlag(flags, &b.json)
	return cmd
}

// check finds what contradicts itself on the command line, and puts the options of the scan
// together.
func (b *buildCommand) check(cmd *cobra.Command) error {
	if b.source == "-" {
		b.fromFile = true
	}
	given := cmd.Flags().Changed
	if b.fromFile {
		for _, name := range append([]string{"store"}, scanFlagNames...) {
			if given(name) {
				return usagef("--%s is for directories: a dump is taken as it is, and has no file contents", name)
			}
		}
	}
	if b.image == "-" && b.json {
		return usagef("--json and the image cannot both go to standard output")
	}
	b.scan.Algorithm = fsverity.Algorithm{Hash: b.hash, BlockBits: fsverity.SHA256.BlockBits}
	return b.scan.check()
}
