package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/internal/bytesize"
	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/repository"
)

const fsckLong = `fsck looks at everything in a repository: meta.json, links, images, streams, leases, and the content of
all objects, which it reads and compares with their names. It prints what is wrong, and who needs it:
images with the paths of files, and streams. What is printed as a note makes the repository no worse.
Others may go on using the repository meanwhile.

If it is interrupted, --resume goes on where it was.

--repair mends what can be mended: it replaces objects by good copies from other stores ("composefs stores")
and from the directories that --from names, enables fs-verity that objects have lost, and makes lost
links again. What is wrong and cannot be mended it moves to the directory quarantine of the repository,
and nothing is ever deleted.

A copy made by a program that does not know fs-verity loses it, and with that of meta.json the repository's
own word that it requires fs-verity: --require-verity misses it all the same, and with --repair brings it back.

If there are problems that are not solved in the
end, fsck ends with exit code 3.`

const fsckExample = `  composefs fsck
  composefs fsck --limit 50M          # beside other work
  composefs fsck --resume             # after that was interrupted
  composefs fsck --repair --from /mnt/backup/composefs --from /srv/rootfs
  composefs fsck --json | jq -r '.problems[] | .needed_by[]?.paths[]?.path'`

// errProblems is what fsck ends with if not all is well.
var errProblems = errors.New("the repository has problems")

// fsckCommand is one command line of fsck.
type fsckCommand struct {
	opts   repository.CheckOptions
	limit  string
	repair bool
	from   []string
	json   bool
}

func (a *app) fsckCommand() *cobra.Command {
	var c fsckCommand
	cmd := &cobra.Command{
		Use:     "fsck",
		Short:   "find out whether a repository is sound",
		Long:    fsckLong,
		Example: fsckExample,
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.check(); err != nil {
				return err
			}
			return a.fsck(cmd, &c)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&c.opts.NoData, "no-data", false, "do not read the content of objects")
	flags.BoolVar(&c.opts.FromDisk, "from-disk", false, "read objects from the disk, also those that the kernel has in memory")
	flags.StringVar(&c.limit, "limit", "", "read no more than this many `BYTES` in a second, such as 50M")
	flags.BoolVar(&c.opts.RequireVerity, "require-verity", false, "miss fs-verity also where the repository does not say that it requires it")
	flags.BoolVar(&c.opts.Resume, "resume", false, "go on where an earlier fsck was interrupted")
	flags.BoolVar(&c.repair, "repair", false, "mend what can be mended, and put away what cannot")
	flags.StringArrayVar(&c.from, "from", nil, "with --repair: a repository, directory of objects, or other `DIR` with good copies of files; may be given several times")
	_ = cobra.MarkFlagDirname(flags, "from") // just defined
	jobsFlag(flags, &c.opts.Jobs)
	jsonFlag(flags, &c.json)
	return cmd
}

func (c *fsckCommand) check() error {
	if c.opts.NoData && (c.opts.FromDisk || c.opts.Resume || c.opts.RequireVerity || c.limit != "") {
		return usagef("--no-data reads no objects: --from-disk, --limit, --require-verity and --resume are about reading them")
	}
	if len(c.from) > 0 && !c.repair {
		return usagef("--from says where --repair finds good copies")
	}
	if c.limit != "" {
		var err error
		if c.opts.Limit, err = parseSize(c.limit); err != nil {
			return usageError{fmt.Errorf("--limit: %w", err)}
		}
	}
	return nil
}

// parseSize reads a number of bytes with a unit of powers of 1024, as bytesize.String prints it, or none.
func parseSize(s string) (int64, error) {
	number, shift := strings.TrimRight(s, "iB"), 0
	if n := len(number); n > 0 {
		if i := strings.IndexByte("KMGT", number[n-1]); i >= 0 {
			number, shift = number[:n-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is no number of bytes such as 500K or 50M", s)
	}
	return n << shift, nil
}

func (a *app) fsck(cmd *cobra.Command, c *fsckCommand) error {
	r, err := a.openRepository(cmd, repository.Options{})
	if err != nil {
		return err
	}
	defer r.Close()
	meter := a.startMeter("fsck")
	c.opts.Progress = meter
	found, err := r.Check(cmd.Context(), c.opts)
	meter.Done()
	switch {
	case errors.Is(err, context.Canceled) && !c.opts.NoData:
		return advisedError{err, "`composefs fsck --resume` goes on from here"}
	case err != nil:
		return err
	}
	containers, err := oci.Check(cmd.Context(), r, !c.opts.NoData)
	if err != nil {
		return err
	}
	for _, p := range found.Problems {
		// What is so damaged that it has no names is shown without.
		_ = nameContainers(cmd.Context(), r, p.NeededBy)
	}
	if c.repair && len(found.Problems) > 0 {
		if err := r.Repair(cmd.Context(), &found, repository.RepairOptions{From: c.from}); err != nil {
			return errors.Join(err, a.printChecked(r, found, c))
		}
	}
	// Mending what is wrong with objects may have mended these: they are looked at last.
	if c.repair && len(containers) > 0 {
		if containers, err = oci.Check(cmd.Context(), r, !c.opts.NoData); err != nil {
			return err
		}
	}
	found.Problems = append(found.Problems, containers...)
	if err := a.printChecked(r, found, c); err != nil {
		return err
	}
	if !found.OK() {
		return fmt.Errorf("%s: %w", r.Path(), errProblems)
	}
	return nil
}

func (a *app) printChecked(r *repository.Repository, found repository.Checked, c *fsckCommand) error {
	if c.json {
		return a.printJSON(newFsckJSON(found))
	}
	err := a.result(func(w *bufio.Writer) error {
		paint := a.painter(a.out)
		for i := range found.Problems {
			a.printProblem(w, paint, &found.Problems[i], c.repair)
		}
		return nil
	})
	text := strings.Join([]string{
		counted(found.Images, "image"), counted(found.Streams, "stream"), counted(found.Objects, "object"),
	}, ", ")
	if found.Read > 0 {
		text += fmt.Sprintf(", %s read", bytesize.String(found.Bytes))
	}
	switch left, mended := countProblems(found); {
	case left > 0:
		text += fmt.Sprintf(": %s, %d mended", counted(left+mended, "problem"), mended)
	case mended > 0:
		text += fmt.Sprintf(": %s, all mended", counted(mended, "problem"))
	default:
		text += ": no problems found"
	}
	a.remark("%s: %s", printable(r.Path()), text)
	return err
}

// countProblems returns how many problems there are, and how many that were mended.
func countProblems(found repository.Checked) (left, solved int) {
	for _, p := range found.Problems {
		switch {
		case p.Note:
		case p.Solved():
			solved++
		default:
			left++
		}
	}
	return left, solved
}

func (a *app) printProblem(w *bufio.Writer, paint func(color, string) string, p *repository.Problem, repaired bool) {
	text := printable(p.Path) + ": "
	switch {
	case p.Note && a.quiet:
		return
	case p.Note:
		text += "note: " + printable(p.Detail)
	default:
		text += paint(red, printable(p.Detail))
	}
	fmt.Fprintln(w, text)
	for _, n := range p.NeededBy {
		fmt.Fprintln(w, "    needed by "+neederText(n))
	}
	switch {
	case p.Mended != "":
		fmt.Fprintln(w, "    "+paint(green, "mended: "+printable(p.Mended)))
	case p.Quarantined != "":
		fmt.Fprintln(w, "    moved to "+printable(p.Quarantined))
	case repaired && !p.Note:
		fmt.Fprintln(w, "    not mended")
	}
}

// shownPaths is how many paths of an image are printed for people.
const shownPaths = 5

// neederText names an image or stream, and files.
func neederText(n repository.Needer) string {
	who := "stream " + printable(n.Stream)
	if !n.Image.IsZero() {
		who = fmt.Sprintf("image %.12s", n.Image)
	}
	if len(n.Names) > 0 {
		who += " (" + printable(strings.Join(n.Names, ", ")) + ")"
	}
	if len(n.Paths) == 0 {
		return who
	}
	shown := n.Paths[:min(len(n.Paths), shownPaths)]
	who += ": " + printable(strings.Join(shown, " "))
	if more := len(n.Paths) - len(shown) + n.More; more > 0 {
		who += fmt.Sprintf(" and %d more", more)
	}
	return who
}
