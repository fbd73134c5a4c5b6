package main

import (
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/mount"
	"github.com/go-composefs/composefs/tree"
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
	clamp      string
	noLinks    bool
	inlineMax  int
	scan       tree.ScanOptions
}

// buildJSON is the output of `build --json`.
type buildJSON struct {
	Image   string          `json:"image,omitempty"`
	Digest  fsverity.Digest `json:"digest"`
	Format  string          `json:"format"`
	Size    int64           `json:"size"`
	Verity  bool            `json:"verity"`
	Entries int             `json:"entries"`
	Files   int             `json:"files"`
	Bytes   uint64          `json:"bytes"`
	Objects objectsJSON     `json:"objects"`
}

type objectsJSON struct {
	Count    int    `json:"count"`
	Bytes    uint64 `json:"bytes"`
	New      *int   `json:"new,omitempty"`
	NewBytes *int64 `json:"new_bytes,omitempty"`
}

func (a *app) buildCommand() *cobra.Command {
	b := buildCommand{
		verity: mount.VerityTry, format: erofs.FormatV1, hash: fsverity.HashSHA256, inlineMax: tree.DefaultInlineMax,
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
	flags.StringArrayVar(&b.scan.Exclude, "exclude", nil, "leave out what matches `PATTERN`, as in .gitignore: *.o anywhere, /var/cache/ at the top, !keep.o after all; may be given several times")
	flags.StringVar(&b.clamp, "mtime-clamp", "", "lower later times to `TIME`: seconds since 1970, 2024-01-31 or 2024-01-31T12:00:00Z (default SOURCE_DATE_EPOCH)")
	flags.BoolVar(&b.scan.UseEpoch, "epoch", false, "set all times to 1970")
	flags.BoolVar(&b.scan.SkipXattrs, "skip-xattrs", false, "leave out all extended attributes")
	flags.BoolVar(&b.scan.UserXattrs, "user-xattrs", false, "leave out extended attributes other than user.*")
	flags.BoolVar(&b.scan.SkipDevices, "skip-devices", false, "leave out device nodes, whiteouts with them")
	flags.BoolVar(&b.noLinks, "no-hardlinks", false, "make each name of a hard-linked file a file of its own, as mkcomposefs does")
	flags.IntVar(&b.inlineMax, "inline-max", b.inlineMax, "keep files of up to this many `BYTES` in the image")
	jobsFlag(flags, &b.scan.Jobs)
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
		for _, name := range []string{
			"store", "exclude", "mtime-clamp", "epoch", "skip-xattrs", "user-xattrs", "skip-devices",
			"no-hardlinks", "inline-max",
		} {
			if given(name) {
				return usagef("--%s is for directories: a dump is taken as it is, and has no file contents", name)
			}
		}
	}
	switch {
	case b.image == "-" && b.json:
		return usagef("--json and the image cannot both go to standard output")
	case b.scan.SkipXattrs && b.scan.UserXattrs:
		return usagef("--skip-xattrs and --user-xattrs contradict each other")
	case b.inlineMax < 0 || b.inlineMax > tree.MaxInline:
		return usagef("--inline-max %d: want 0 to %d", b.inlineMax, tree.MaxInline)
	}
	b.scan.Hardlinks = !b.noLinks
	b.scan.Algorithm = fsverity.Algorithm{Hash: b.hash, BlockBits: fsverity.SHA256.BlockBits}
	if b.scan.InlineMax = b.inlineMax; b.inlineMax == 0 {
		b.scan.InlineMax = -1 // 0 is the default
	}
	clamp, origin := b.clamp, "--mtime-clamp"
	if clamp == "" {
		clamp, origin = os.Getenv("SOURCE_DATE_EPOCH"), "SOURCE_DATE_EPOCH"
	}
	if clamp != "" {
		t, err := parseTime(clamp)
		if err != nil {
			return usagef("%s %q: want seconds since 1970, 2024-01-31 or 2024-01-31T12:00:00Z", origin, clamp)
		}
		b.scan.MtimeClamp = &t
	}
	return nil
}

func parseTime(s string) (tree.Timespec, error) {
	if sec, err := strconv.ParseInt(s, 10, 64); err == nil {
		return tree.Timespec{Sec: sec}, nil
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		t, err = time.Parse(time.RFC3339Nano, s)
	}
	return tree.Timespec{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}, err
}
