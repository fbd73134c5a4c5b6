package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/bytesize"
	"github.com/go-composefs/composefs/tree"
)

// diffCommand is one command line of diff.
type diffCommand struct {
	ignore []string
	bytes  bool
	json   bool
}

var diffFields = []string{
	string(tree.FieldType), string(tree.FieldMode), string(tree.FieldOwner), string(tree.FieldMtime),
	string(tree.FieldSize), string(tree.FieldContent), string(tree.FieldStored), string(tree.FieldTarget),
	string(tree.FieldXattrs), string(tree.FieldRdev), string(tree.FieldNlink), string(tree.FieldLinks),
}

func (a *app) diffCommand() *cobra.Command {
	var d diffCommand
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "compare two images or directories",
		Long: `diff prints what must be done to tree A to get tree B: a line for each path, with A for an added one, D
for a deleted one, and C for a changed one, which is followed by what changed:

  ` + strings.Join(diffFields[:7], ", ") + ",\n  " + strings.Join(diffFields[7:], ", ") + `

With --bytes each line ends with how much larger or smaller a file got. How many bytes the trees have not in
common is said at the end, on standard error: of files that are equal anywhere in both, whatever their
names, and of equal ones only once, as a store has them.

"stored" is the same content in another place: in the image itself or not. "links" is a hard link with
other paths than before. A and B are images, or directories, of which all files are read.

As diff(1) it ends with exit code 0 if the trees are equal, 1 if they differ, and 2 if they could not
be compared; and with 3 if an image is corrupt. With --quiet it prints no differences.`,
		Example: `  composefs diff old.cfs new.cfs
  composefs diff --ignore mtime old.cfs new.cfs

  # Two images of the repository, and one of it and a directory.
  composefs diff --bytes debian:11 debian:12
  composefs diff debian:12 ./rootfs

  # Is the directory still what the image was made of?
  composefs diff --quiet doc.cfs /usr/share/doc`,
		Args: arguments(2, 2),
		Annotations: map[string]string{
			annotateExit + "1": "The trees differ.",
			annotateExit + "2": "The command line makes no sense, or the trees could not be compared.",
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, field := range d.ignore {
				if !slices.Contains(diffFields, field) {
					return usagef("--ignore %s: want any of %s", field, strings.Join(diffFields, ", "))
				}
			}
			err := a.diff(cmd, &d, args[0], args[1])
			if err != nil && !errors.Is(err, errDifferent) && exitCode(err) == exitFailed {
				return codedError{err, exitUsage}
			}
			return err
		},
	}
	cmd.Flags().StringSliceVar(&d.ignore, "ignore", nil, "changes of `FIELDS` that do not count, separated by commas")
	_ = cmd.RegisterFlagCompletionFunc("ignore", cobra.FixedCompletions(diffFields, cobra.ShellCompDirectiveNoFileComp)) // just defined
	cmd.Flags().BoolVar(&d.bytes, "bytes", false, "print how much larger or smaller files got")
	imageFlags(a, cmd)
	jsonFlag(cmd.Flags(), &d.json)
	return cmd
}

func (a *app) diff(cmd *cobra.Command, d *diffCommand, nameA, nameB string) error {
	meter := a.startMeter("diff")
	load := loader{app: a, cmd: cmd, progress: meter}
	treeA, treeB, err := load.both(cmd.Context(), nameA, nameB)
	meter.Done()
	if err != nil {
		return err
	}
	different := false
	err = a.result(func(w *bufio.Writer) error {
		paint := a.painter(a.out)
		list := jsonList{w: w}
		for change := range tree.Compare(treeA, treeB) {
			if change.Kind == tree.Changed {
				change.Fields = slices.DeleteFunc(change.Fields, func(f tree.Field) bool {
					return slices.Contains(d.ignore, string(f))
				})
				if len(change.Fields) == 0 {
					continue
				}
			}
			different = true
			switch {
			case d.json:
				if err := list.add(change); err != nil {
					return err
				}
			case a.quiet:
				return nil
			default:
				text := changeText(change, paint)
				if d.bytes {
					text += growthText(change)
				}
				fmt.Fprintln(w, text)
			}
		}
		if d.json {
			return list.end()
		}
		return nil
	})
	if err == nil && different {
		a.remark("%s", diffSummary(treeA, treeB))
		return errDifferent
	}
	return err
}

func changeText(change tree.Change, paint func(color, string) string) string {
	path := printable(change.Path)
	switch change.Kind {
	case tree.Added:
		return paint(green, "A "+path)
	case tree.Removed:
		return paint(red, "D "+path)
	default:
		text := paint(yellow, "C "+path) + ":"
		for _, field := range change.Fields {
			text += " " + string(field)
		}
		return text
	}
}

// growthText says how much larger or smaller a regular file got.
func growthText(change tree.Change) string {
	var before, after uint64
	if change.Old != nil && change.Old.IsRegular() {
		before = change.Old.Size
	}
	if change.New != nil && change.New.IsRegular() {
		after = change.New.Size
	}
	switch {
	case after > before:
		return " +" + bytesize.String(int64(after-before))
	case before > after:
		return " -" + bytesize.String(int64(before-after))
	}
	return ""
}

// diffSummary says how much of each tree's content the other has not.
func diffSummary(a, b *tree.Inode) string {
	inA, inB := contentOf(a), contentOf(b)
	only := func(x, y map[string]uint64) (count int, size int64) {
		for key, n := range x {
			if _, ok := y[key]; !ok {
				count++
				size += int64(n)
			}
		}
		return count, size
	}
	countA, sizeA := only(inA, inB)
	countB, sizeB := only(inB, inA)
	return fmt.Sprintf("only in A: %s in %s; only in B: %s in %s", bytesize.String(sizeA), counted(countA, "file"),
		bytesize.String(sizeB), counted(countB, "file"))
}

// contentOf returns the sizes of all different contents of a tree's files: by digest, by the path in
// the store of a file without one, or by themselves.
func contentOf(root *tree.Inode) map[string]uint64 {
	contents := map[string]uint64{}
	for _, e := range tree.Walk(root) {
		n := e.Inode
		if e.Link || !n.IsRegular() || n.Size == 0 {
			continue
		}
		key := "content " + string(n.Content)
		switch {
		case !n.Digest.IsZero():
			key = n.Digest.String()
		case n.IsExternal():
			key = "backing " + n.BackingPath()
		}
		contents[key] = n.Size
	}
	return contents
}

// loader reads trees that are to be compared.
type loader struct {
	app       *app
	cmd       *cobra.Command
	progress  tree.Progress
	algorithm fsverity.Algorithm // of the digests of directories
}

// both reads two trees. Images come first: a directory's files are hashed as those of the
// image are.
func (l *loader) both(ctx context.Context, nameA, nameB string) (a, b *tree.Inode, err error) {
	dirA, err := l.isDir(nameA)
	if err != nil {
		return nil, nil, err
	}
	if _, err := l.isDir(nameB); err != nil {
		return nil, nil, err
	}
	if dirA {
		if b, err = l.load(ctx, nameB); err == nil {
			a, err = l.load(ctx, nameA)
		}
		return a, b, err
	}
	if a, err = l.load(ctx, nameA); err == nil {
		b, err = l.load(ctx, nameB)
	}
	return a, b, err
}

func (l *loader) isDir(name string) (bool, error) {
	if isNamed(l.cmd, name) {
		return false, nil
	}
	info, err := os.Stat(name)
	return err == nil && info.IsDir(), err
}

func (l *loader) load(ctx context.Context, name string) (*tree.Inode, error) {
	if dir, err := l.isDir(name); err != nil {
		return nil, err
	} else if dir {
		return l.scan(ctx, name)
	}
	img, err := l.app.openImage(l.cmd, name)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	root, err := img.tree(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range tree.Walk(root) {
		if hash := e.Inode.Digest.Hash(); hash != 0 {
			l.algorithm = fsverity.Algorithm{Hash: hash, BlockBits: fsverity.SHA256.BlockBits}
			break
		}
	}
	return root, nil
}

func (l *loader) scan(ctx context.Context, name string) (*tree.Inode, error) {
	dir, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return tree.Scan(ctx, dir, tree.ScanOptions{Hardlinks: true, Algorithm: l.algorithm, Progress: l.progress})
}
