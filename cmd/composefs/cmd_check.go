package main

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/internal/progress"
)

// checkJSON is the output of `check --json`.
type checkJSON struct {
	Image     string          `json:"image"`
	OK        bool            `json:"ok"`
	Composefs bool            `json:"composefs"`
	Format    string          `json:"format,omitempty"`
	Size      int64           `json:"size"`
	Inodes    uint64          `json:"inodes"`
	Problems  []erofs.Problem `json:"problems"`
}

func (a *app) checkCommand() *cobra.Command {
	var noVerify, asJSON bool
	var jobs int
	cmd := &cobra.Command{
		Use:   "check IMAGE",
		Short: "find out whether an image is sound",
		Long: `check looks at everything in an image, as a file system check does, and prints what is wrong, a line for
each problem. With --store, and for an image of a repository, it also finds objects that are missing or
whose content is not what the image says, which reads all of them.

What is printed as a note makes the image no worse. If there are problems, check ends with exit
code 3.`,
		Example: `  composefs check doc.cfs
  composefs check --store /srv/store doc.cfs
  composefs check --json doc.cfs | jq -r '.problems[] | .path + ": " + .detail'`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			img, err := a.openImage(cmd, args[0])
			if err != nil {
				return err
			}
			defer img.Close()
			opts := erofs.CheckOptions{Verify: !noVerify, Jobs: jobs}
			var meter *progress.Meter
			if img.objects != nil {
				meter = a.startMeter("check")
				opts.Objects = countedFS{cmd.Context(), img.objects, meter}
			}
			found, err := orInterrupted(cmd.Context(), func() (checkJSON, error) { return img.check(opts), nil })
			meter.Done()
			if err != nil {
				return err
			}
			if err := a.printCheck(found, asJSON); err != nil {
				return err
			}
			if !found.OK {
				return fmt.Errorf("%s: %w", img.name, errBadImage)
			}
			return nil
		},
	}
	storesFlag(cmd.Flags())
	imageFlags(a, cmd)
	cmd.Flags().BoolVar(&noVerify, "no-verify", false, "do not read objects: see only that they are there, with the right size")
	jobsFlag(cmd.Flags(), &jobs)
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

func (i *imageFile) check(opts erofs.CheckOptions) checkJSON {
	found := checkJSON{
		Image: i.name, OK: true, Composefs: i.Composefs(),
		Size: i.Size(), Inodes: i.Super().Inodes, Problems: []erofs.Problem{},
	}
	if found.Composefs {
		found.Format = i.Format().String()
	}
	var ofObjects []erofs.Problem
	for p := range i.Check(opts) {
		found.OK = found.OK && p.Note
		switch p.Kind {
		case erofs.ProblemObject, erofs.ProblemObjectSize, erofs.ProblemDigest:
			ofObjects = append(ofObjects, p)
		default:
			found.Problems = append(found.Problems, p)
		}
	}
	// Objects are read side by side; what is found in them comes in any order.
	slices.SortFunc(ofObjects, func(p, q erofs.Problem) int { return strings.Compare(p.Path, q.Path) })
	found.Problems = append(found.Problems, ofObjects...)
	return found
}

func (a *app) printCheck(found checkJSON, asJSON bool) error {
	if asJSON {
		return a.printJSON(found)
	}
	return a.result(func(w *bufio.Writer) error {
		paint := a.painter(a.out)
		for _, p := range found.Problems {
			switch {
			case !p.Note:
				fmt.Fprintf(w, "%s: %s\n", printable(found.Image), paint(red, printable(p.String())))
			case !a.quiet:
				fmt.Fprintf(w, "%s: note: %s\n", printable(found.Image), printable(p.String()))
			}
		}
		if found.OK && !a.quiet {
			fmt.Fprintf(w, "%s: %s\n", printable(found.Image), paint(green, "no problems found"))
		}
		return nil
	})
}

// countedFS shows on a meter what is read, and ends reading with its context.
type countedFS struct {
	ctx   context.Context
	fsys  fs.FS
	meter *progress.Meter
}

func (c countedFS) Open(name string) (fs.File, error) {
	f, err := c.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	c.meter.Add(1, 0)
	return countedFile{c, f}, nil
}

type countedFile struct {
	fsys countedFS
	file fs.File
}

func (f countedFile) Stat() (fs.FileInfo, error) { return f.file.Stat() }
func (f countedFile) Close() error               { return f.file.Close() }

func (f countedFile) Read(p []byte) (int, error) {
	return f.count(f.file.Read(p))
}

func (f countedFile) ReadAt(p []byte, off int64) (int, error) {
	file, _ := f.file.(*os.File) // that of stores
	return f.count(file.ReadAt(p, off))
}

func (f countedFile) count(n int, err error) (int, error) {
	f.fsys.meter.Add(0, int64(n))
	if err == nil {
		err = f.fsys.ctx.Err()
	}
	return n, err
}
