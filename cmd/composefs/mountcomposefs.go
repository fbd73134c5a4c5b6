package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/go-composefs/composefs/internal/getopt"
	"github.com/go-composefs/composefs/mount"
)

// mountComposefs behaves as the program mount.composefs of the C project, except where
// docs/compat.md says so. It is what mount(8) calls for `mount -t composefs`.
func mountComposefs(ctx context.Context, std streams, args []string) int {
	m := mountCommand{personality: personality{std, args[0]}}
	if exit, done := m.parse(args[1:]); done {
		return exit
	}
	if m.namespace != "" {
		return m.fail("Failed to enter mount namespace %s: %s", m.namespace,
			strerror(runInMountNamespace(m.namespace, m.withoutNamespace)))
	}
	return m.run(ctx)
}

// mountCommand is one command line of mount.composefs.
type mountCommand struct {
	personality

	image, target string
	options       mount.TextOptions

	sloppy  bool // -s: ignore unknown options
	fake    bool // -f: do everything but the mount
	verbose bool // -v: tell what was mounted

	namespace        string   // -N: file of the mount namespace to work in
	withoutNamespace []string // the same command line without -N
}

var mountOptions = []getopt.Option{
	{Name: "h"},
	{Name: "t", Value: true},
	{Name: "o", Value: true},
	// what mount(8) passes to its helpers
	{Name: "s"},
	{Name: "f"},
	{Name: "n"},
	{Name: "v"},
	{Name: "N", Value: true},
	{Name: "help"},
}

const mountUsage = `usage: %[1]s [-t type] [-o opt[,opts..]] IMAGE MOUNTPOINT
Example:
  %[1]s -o basedir=/composefs/objects exampleimage.cfs /mnt/exampleimage
or by mount(8):
  mount -t composefs -o basedir=/composefs/objects exampleimage.cfs /mnt/exampleimage

Options:
  basedir=PATH[:PATH]    Object directories, in the order of search
  digest=DIGEST          fs-verity digest that the image must have; implies verity
  verity                 Check every file's content against the image
  tryverity              The same where kernel and filesystem can
  noverity               Check no file's content, also with digest
  upperdir=PATH          Where changes go, which makes the mount writable
  workdir=PATH           Empty directory on the same filesystem as upperdir
  volatile               Never sync upperdir
  idmap=PATH             User namespace whose ID mapping owners are shown by
  ro, rw                 Read-only, or writable if there is an upperdir
  nosuid, nodev, ...     The generic options of mount(8)
`

// parse reads the command line. done says that the program ends with exit, having printed why.
func (m *mountCommand) parse(args []string) (exit int, done bool) {
	var texts []string
	kept := []string{m.argv0}
	line := getopt.New(args, mountOptions)
	for opt, err := range line.Options() {
		if err != nil {
			return m.usage(m.argv0 + ": " + err.Error()), true
		}
		switch opt.Name {
		case "h":
			fmt.Fprintf(m.err, mountUsage, m.argv0)
			return exitOK, true
		case "help":
			fmt.Fprintf(m.out, mountUsage, m.argv0)
			return exitOK, true
		case "t":
			if opt.Value != "composefs" {
				return m.fail("Unsupported fs type '%s'", opt.Value), true
			}
		case "o":
			texts = append(texts, opt.Value)
			kept = append(kept, "-o", opt.Value)
		case "s":
			m.sloppy = true
			kept = append(kept, "-s")
		case "f":
			m.fake = true
			kept = append(kept, "-f")
		case "v":
			m.verbose = true
			kept = append(kept, "-v")
		case "N":
			m.namespace = opt.Value
		}
	}
	args = line.Args()
	m.withoutNamespace = append(append(kept, "--"), args...)
	switch len(args) {
	case 0:
		return m.usage("No source path specified"), true
	case 1:
		return m.usage("No mount path specified"), true
	}
	m.image, m.target = args[0], args[1]
	return m.parseOptions(strings.Join(texts, ","))
}

func (m *mountCommand) parseOptions(text string) (exit int, done bool) {
	if m.sloppy {
		text = dropUnsupported(text)
	}
	var err error
	if m.options, err = mount.ParseOptions(text); err != nil {
		return m.fail("%v", err), true
	}
	if len(m.options.Objects) == 0 {
		return m.usage("No object dirs specified"), true
	}
	return exitOK, false
}

// dropUnsupported removes the options that are unknown as such.
func dropUnsupported(text string) string {
	var kept []string
	for len(text) > 0 {
		end := 0
		for end < len(text) && text[end] != ',' {
			if text[end] == '\\' {
				end++
			}
			end++
		}
		end = min(end, len(text))
		item := text[:end]
		text = strings.TrimPrefix(text[end:], ",")
		_, err := mount.ParseOptions(item)
		if item != "" && (err == nil || !strings.HasPrefix(err.Error(), "Unsupported option")) {
			kept = append(kept, item)
		}
	}
	return strings.Join(kept, ",")
}

// usage prints what is wrong with the command line and how one looks.
func (m *mountCommand) usage(message string) int {
	fmt.Fprintln(m.err, message)
	fmt.Fprintf(m.err, mountUsage, m.argv0)
	return exitFailed
}

// run opens all that the options name and mounts.
func (m *mountCommand) run(ctx context.Context) int {
	opts := mount.Options{
		ImageName: m.image,
		Verity:    m.options.Verity,
		Digest:    m.options.Digest,
		Volatile:  m.options.Volatile,
		ReadOnly:  m.options.ReadOnly,
		Nosuid:    m.options.Nosuid,
		Nodev:     m.options.Nodev,
		Noexec:    m.options.Noexec,
		Noatime:   m.options.Noatime,
	}
	var err error
	if m.options.IDMap != "" {
		if opts.UserNS, err = os.Open(m.options.IDMap); err != nil {
			return m.fail("Failed to open userns %s: %s", m.options.IDMap, strerror(withoutPath(err)))
		}
		defer opts.UserNS.Close()
	}
	if opts.Image, err = os.Open(m.image); err != nil {
		return m.fail("Failed to open %s: %s", m.image, strerror(withoutPath(err)))
	}
	defer opts.Image.Close()
	for _, path := range m.options.Objects {
		dir, err := os.Open(path)
		if err != nil {
			return m.mountError(err)
		}
		defer dir.Close()
		opts.Objects = append(opts.Objects, dir)
	}
	if m.options.Upper != "" {
		if opts.Upper, err = os.Open(m.options.Upper); err != nil {
			return m.mountError(err)
		}
		defer opts.Upper.Close()
		if opts.Work, err = os.Open(m.options.Work); err != nil {
			return m.mountError(err)
		}
		defer opts.Work.Close()
	}
	if m.fake {
		return exitOK
	}
	state, err := mount.At(ctx, opts, m.target)
	if err != nil {
		return m.mountError(err)
	}
	if m.verbose {
		m.tell(state)
	}
	return exitOK
}

// mountError prints why there is no mount, with the C program's words where it has any.
func (m *mountCommand) mountError(err error) int {
	var digest *mount.DigestError
	var reason string
	switch {
	case errors.As(err, &digest) && errors.Is(err, mount.ErrNoVerity):
		reason = "Image has no fs-verity"
	case errors.As(err, &digest):
		reason = fmt.Sprintf("Image has wrong fs-verity (it is %v, expected %v)", digest.Got, digest.Want)
	case errors.Is(err, mount.ErrNotComposefs):
		reason = fmt.Sprintf("%s (%v)", cText(syscall.EINVAL), err)
	default:
		reason = strerror(err)
	}
	return m.fail("Failed to mount composefs %s: %s", m.image, reason)
}

// tell prints what came of the options.
func (m *mountCommand) tell(state mount.State) {
	fmt.Fprintf(m.out, "%s: %s mounted on %s, verity %v", m.name(), m.image, m.target, state.Verity)
	if state.VerityReason != "" {
		fmt.Fprintf(m.out, " (%s)", state.VerityReason)
	}
	if !state.Digest.IsZero() {
		fmt.Fprintf(m.out, ", image digest %v", state.Digest)
	}
	fmt.Fprintln(m.out)
}
