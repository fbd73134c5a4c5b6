package main

import (
	"bufio"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/mount"
	"github.com/go-composefs/composefs/repository"
)

// doctorJSON is the output of `doctor --json`.
type doctorJSON struct {
	Verdict []string `json:"verdict"`
	mount.Capabilities
	Repository *repoDoctorJSON `json:"repository,omitempty"`
}

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [DIR]",
		Short: "tell what this machine can do for composefs",
		Long: `doctor tries out what this kernel can do for composefs and, with DIR, what the filesystem of that
directory can: DIR is where a store or an upper directory is or will be. Nothing that it makes for
this is seen by anyone or stays behind. As root it can try everything.

Without DIR it looks at the repository, if there is one, and tells by what each of its images is
protected.`,
		Example: `  sudo composefs doctor /srv/store
  sudo composefs doctor --repo /var/lib/composefs
  composefs doctor --json | jq -r '.kernel[] | select(.answer == "no") | .name'`,
		Args: arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && cmd.Flags().Changed("repo") {
				return usagef("DIR and --repo: want one of them")
			}
			found, err := a.diagnose(cmd, args)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(found)
			}
			return a.result(func(w *bufio.Writer) error { return a.printDiagnosis(w, found) })
		},
	}
	repoFlag(cmd)
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

func (a *app) diagnose(cmd *cobra.Command, args []string) (found doctorJSON, err error) {
	var r *repository.Repository
	if len(args) == 0 {
		if r, err = a.openDoctored(cmd); err != nil {
			return found, err
		}
	}
	if r != nil {
		defer r.Close()
	}
	dir, err := openProbed(args, r)
	if err != nil {
		return found, err
	}
	if dir != nil {
		defer dir.Close()
	}
	found.Capabilities = mount.Probe(dir)
	found.Verdict = verdict(found.Capabilities)
	if r == nil {
		return found, nil
	}
	if found.Repository, err = diagnoseRepository(cmd.Context(), r); err != nil {
		return found, err
	}
	verifies := found.Get(mount.CapVerity).Answer != mount.No && found.Get(mount.CapOverlayVerity).Answer != mount.No
	found.Verdict = append(found.Verdict, found.Repository.verdict(verifies)...)
	return found, nil
}

// verdict sums the answers up.
func verdict(c mount.Capabilities) []string {
	is := func(name string, answer mount.Answer) bool { return c.Get(name).Answer == answer }
	var lines []string
	say := func(line string) { lines = append(lines, line) }
	switch {
	case is(mount.CapErofs, mount.No) || is(mount.CapOverlay, mount.No):
		say("This kernel cannot mount images. `composefs export` gets files out of them without it.")
		return lines
	case is(mount.CapErofsFile, mount.No) && is(mount.CapLoop, mount.No):
		say("This kernel cannot mount images: it needs loop devices for that, and has none here.")
		return lines
	case os.Geteuid() != 0:
		say("This kernel can mount images, as root.")
	default:
		say("Images can be mounted.")
	}
	if is(mount.CapOverlayVerity, mount.No) {
		say("This kernel cannot verify files of a mount.")
	}
	if c.Directory == "" {
		return lines
	}
	switch {
	case is(mount.CapVerity, mount.No):
		say("Files of a store here cannot be verified by the kernel: mount with --verity=off, and trust who can write here.")
	case is(mount.CapVerity, mount.Yes) && is(mount.CapOverlayVerity, mount.Yes):
		say("Files of a store here can be verified by the kernel: build and mount with --verity=require.")
	}
	return lines
}

func (a *app) printDiagnosis(w *bufio.Writer, found doctorJSON) error {
	paint := a.painter(a.out)
	section := func(title string, capabilities []mount.Capability) {
		if len(capabilities) == 0 {
			return
		}
		fmt.Fprintln(w, paint(bold, title))
		for _, c := range capabilities {
			mark := map[mount.Answer]string{
				mount.Yes:     paint(green, "yes"),
				mount.No:      paint(red, "no "),
				mount.Unknown: paint(yellow, "?  "),
			}[c.Answer]
			fmt.Fprintf(w, "  %s  %s\n", mark, oneLine(c.Detail))
			if c.Answer == mount.Unknown && c.Error != "" {
				fmt.Fprintf(w, "       (%s)\n", oneLine(c.Error))
			}
		}
		fmt.Fprintln(w)
	}
	section("Kernel", found.Kernel)
	section("Directory "+printable(found.Directory), found.Filesystem)
	if found.Repository != nil {
		if err := found.Repository.print(w, paint); err != nil {
			return err
		}
	}
	for _, line := range found.Verdict {
		fmt.Fprintln(w, line)
	}
	return nil
}
