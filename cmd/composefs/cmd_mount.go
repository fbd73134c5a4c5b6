package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/mount"
)

const mountLong = `mount shows the tree of an image at a directory. It needs root.

IMAGE is an image file, or the name or digest of an image in the repository: it is a name if --repo is
given or there is no such file. The contents of files come from the repository, or from the stores,
which are searched in the order they are given. Nothing is copied or unpacked, so that it takes the same
time for any number of files.

What is checked depends on --verity and --digest:

  --verity=require  The kernel opens a file only if its object has fs-verity with the digest that the
                    image says, and gives an error where bytes were changed. The objects' filesystem
                    must have fs-verity: "composefs doctor DIR" tells.
  --verity=try      The same where the filesystems of all stores can do it, else nothing is checked.
  --verity=off      Who can write to the store can change files.
  --digest HEX      The image itself must have this fs-verity digest, which the kernel measures. Who
                    trusts the digest can then trust the tree: without --verity it implies
                    --verity=require, or --verity=try together with --allow-computed.

An image of a repository must have the digest that it is known by. If the repository requires fs-verity
the mount is one of --verity=require; otherwise that can be asked for, and is off by default.

A container image must also pass the policy for where it was pulled from, as at pull: "composefs verify" tells more.

With --upper and --work, both on one filesystem, the mount is writable and changes go to the upper
directory.`

const mountExample = `  composefs mount --store /srv/store doc.cfs /mnt

  # An image of the repository.
  composefs mount debian:12 /mnt

  # A root directory for a container.
  composefs mount --upper upper --work work debian:12 rootfs && crun run ...

  # Trust nothing but a digest.
  composefs mount --store /srv/store --digest 5ad8f0... doc.cfs /mnt

  # Writable.
  composefs mount --store /srv/store --upper /srv/upper --work /srv/work doc.cfs /mnt

  # The same in /etc/fstab, by way of mount(8).
  /srv/doc.cfs  /mnt  composefs  ro,basedir=/srv/store  0 0`

func (a *app) mountCommand() *cobra.Command {
	var opts mount.TextOptions
	var text string
	var allowComputed, verbose, asJSON bool
	cmd := &cobra.Command{
		Use:     "mount IMAGE MOUNTPOINT",
		Short:   "show an image at a directory",
		Long:    mountLong,
		Example: mountExample,
		Args:    arguments(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			merged, err := mergeMountOptions(cmd, text, opts)
			if err != nil {
				return err
			}
			files, err := a.openMountFiles(cmd, args[0], merged)
			if err != nil {
				return err
			}
			defer files.close()
			files.AllowComputed = files.AllowComputed || allowComputed
			state, err := mount.At(cmd.Context(), files.Options, args[1])
			switch {
			case err != nil:
				return err
			case asJSON:
				return a.printJSON(state)
			case verbose:
				return a.printMountState(args[0], args[1], state)
			}
			if merged.Verity == mount.VerityTry && state.Verity == mount.VerityOff {
				a.remark("note: files are not verified: %s", state.VerityReason)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	storesFlag(flags)
	imageFlags(a, cmd)
	textFlag(cmd, &opts.Verity, "verity", "have the kernel verify files: off, try or require", "off", "try", "require")
	digestFlag(flags, &opts.Digest, "digest", "fs-verity digest in `HEX` that the image must have")
	flags.BoolVar(&allowComputed, "allow-computed", false, "compute the image's digest if its filesystem has no fs-verity, which proves it for the moment of mounting only")
	policyFlag(cmd, new(string))
	flags.Bool("bootable", false, "the tree for booting, of a container image")
	flags.StringVar(&opts.Upper, "upper", "", "`DIR` where changes go, which makes the mount writable")
	flags.StringVar(&opts.Work, "work", "", "empty `DIR` on the filesystem of the upper directory, for the kernel's use")
	flags.BoolVar(&opts.Volatile, "volatile", false, "never sync changes: faster, but the upper directory cannot be used again, for it may lack some after a crash")
	flags.BoolVar(&opts.ReadOnly, "read-only", false, "forbid changes even with an upper directory")
	flags.StringVar(&opts.IDMap, "idmap", "", "user namespace, a `FILE` such as /proc/PID/ns/user, as whose users the owners appear")
	flags.StringVarP(&text, "options", "o", "", "`OPTIONS` as of mount(8), separated by commas: nosuid, nodev, noexec, noatime, ro, and those of mount.composefs")
	flags.BoolVarP(&verbose, "verbose", "v", false, "tell what protection is in effect")
	jsonFlag(flags, &asJSON)
	return cmd
}

// mergeMountOptions adds to the options behind -o those that have names of their own here,
// which win.
func mergeMountOptions(cmd *cobra.Command, text string, own mount.TextOptions) (mount.TextOptions, error) {
	merged, err := mount.ParseOptions(text)
	if err != nil {
		return merged, usagef("-o %s: %w", text, err)
	}
	storePaths, err := cmd.Flags().GetStringArray("store")
	if err != nil {
		return merged, err
	}
	merged.Objects = append(merged.Objects, storePaths...)
	given := cmd.Flags().Changed
	switch {
	case given("verity"):
		merged.Verity = own.Verity
	case given("digest") && given("allow-computed"):
		merged.Verity = max(merged.Verity, mount.VerityTry)
	case given("digest"):
		merged.Verity = mount.VerityRequire
	}
	if given("digest") {
		merged.Digest = own.Digest
	}
	if given("upper") {
		merged.Upper = own.Upper
	}
	if given("work") {
		merged.Work = own.Work
	}
	if given("idmap") {
		merged.IDMap = own.IDMap
	}
	merged.Volatile = merged.Volatile || own.Volatile
	merged.ReadOnly = merged.ReadOnly || own.ReadOnly
	switch {
	case (merged.Upper == "") != (merged.Work == ""):
		return merged, usagef("--upper and --work must be given together")
	case merged.Volatile && merged.Upper == "":
		return merged, usagef("--volatile needs --upper")
	}
	return merged, nil
}

// mountFiles are the options of a mount with all files open.
type mountFiles struct {
	mount.Options
	opened []io.Closer
}

// openMountFiles opens what the options name. The caller closes it.
func (a *app) openMountFiles(cmd *cobra.Command, image string, t mount.TextOptions) (*mountFiles, error) {
	if isNamed(cmd, image) && len(t.Objects) == 0 {
		return a.openNamedMount(cmd, image, t)
	}
	if cmd.Flags().Changed("repo") && len(t.Objects) > 0 {
		return nil, usagef("stores are for image files, and --repo for names of images: want one of them")
	}
	m, err := openOptionFiles(t)
	if err != nil {
		return nil, err
	}
	if m.Image, err = openNow(image); err != nil {
		m.close()
		return nil, fmt.Errorf("image: %w", err)
	}
	m.opened = append(m.opened, m.Image)
	return m, nil
}

// openNamedMount opens an image of a repository, to be mounted as that demands. While it is open
// nothing of it is collected; then the kernel has it open.
func (a *app) openNamedMount(cmd *cobra.Command, name string, t mount.TextOptions) (*mountFiles, error) {
	rootfs, err := a.approvedRootfs(cmd, name)
	if err != nil {
		return nil, err
	}
	img, err := a.openNamedImage(cmd, rootfs)
	if err != nil {
		return nil, err
	}
	m, err := openOptionFiles(t)
	if err != nil {
		img.Close()
		return nil, err
	}
	m.opened = append(m.opened, img)
	m.Image, m.Objects = img.file, img.repo.ObjectDirs()
	if img.repo.RequiresVerity() {
		if m.Verity < mount.VerityRequire && cmd.Flags().Changed("verity") {
			m.close()
			return nil, usagef("--verity=%s: the repository requires fs-verity", m.Verity)
		}
		m.Verity = mount.VerityRequire
	}
	if t.Digest.IsZero() {
		// Without fs-verity the content can be compared with the name, at least now.
		m.AllowComputed = !img.repo.RequiresVerity()
	} else if t.Digest != img.digest {
		m.close()
		return nil, &mount.DigestError{Image: name, Want: t.Digest, Got: img.digest, Err: mount.ErrWrongVerity}
	}
	m.Digest = img.digest
	return m, nil
}

// openOptionFiles opens what the options name besides the image. The caller closes it.
func openOptionFiles(t mount.TextOptions) (*mountFiles, error) {
	m := &mountFiles{Options: mount.Options{
		Verity:   t.Verity,
		Digest:   t.Digest,
		Volatile: t.Volatile,
		ReadOnly: t.ReadOnly,
		Nosuid:   t.Nosuid,
		Nodev:    t.Nodev,
		Noexec:   t.Noexec,
		Noatime:  t.Noatime,
	}}
	var err error
	open := func(what, path string) *os.File {
		if err != nil || path == "" {
			return nil
		}
		var f *os.File
		if f, err = openNow(path); err != nil {
			err = fmt.Errorf("%s: %w", what, err)
			return nil
		}
		m.opened = append(m.opened, f)
		return f
	}
	for _, dir := range t.Objects {
		m.Objects = append(m.Objects, open("store", dir))
	}
	m.Upper, m.Work = open("upper directory", t.Upper), open("work directory", t.Work)
	m.UserNS = open("user namespace", t.IDMap)
	if err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *mountFiles) close() {
	for _, f := range m.opened {
		f.Close() // nothing was written
	}
}
