package main

import (
	"bufio"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/tree"
)

// lister prints what ls finds.
type lister struct {
	long, recursive, self, json bool

	fsys  *erofs.FS
	paint func(color, string) string
	w     *bufio.Writer
	list  jsonList
}

func (a *app) lsCommand() *cobra.Command {
	var l lister
	cmd := &cobra.Command{
		Use:   "ls IMAGE [PATH]",
		Short: "list files of an image",
		Long: `ls lists the directory PATH of an image, by default its root, or the one file that PATH is.

Owners are numbers and times are in UTC, as they are in the image. Bytes of names that cannot be
printed are escaped: \n, \xHH, and \\ for the backslash.`,
		Example: `  composefs ls doc.cfs
  composefs ls -l doc.cfs /bash
  composefs ls -R --json doc.cfs | jq -r '.[] | select(.size > 1000000) | .path'`,
		Args: arguments(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			img, err := a.openImage(cmd, args[0])
			if err != nil {
				return err
			}
			defer img.Close()
			path := "/"
			if len(args) == 2 {
				path = args[1]
			}
			l.fsys = img.FS(erofs.FSOptions{})
			l.paint = a.painter(a.out)
			return a.result(func(w *bufio.Writer) error {
				l.w, l.list.w = w, w
				if err := l.run(cmd, fsPath(path)); err != nil {
					return img.failed(err)
				}
				return nil
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&l.long, "long", "l", false, "mode, links, owner, group, size and time of each file")
	flags.BoolVarP(&l.recursive, "recursive", "R", false, "also what is in the directories below, with full paths")
	flags.BoolVarP(&l.self, "directory", "d", false, "the directory itself, not what is in it")
	jsonFlag(flags, &l.json)
	imageFlags(a, cmd)
	return cmd
}

func (l *lister) run(cmd *cobra.Command, name string) error {
	info, err := l.fsys.Lstat(name)
	if err != nil {
		return err
	}
	if !l.self && info.Mode().Type() == fs.ModeSymlink {
		// A link is followed to a directory; one that leads nowhere is shown itself.
		if target, err := l.fsys.Stat(name); err == nil && target.IsDir() {
			info = target
		}
	}
	if l.self || !info.IsDir() {
		err = l.print([]listing{{pathInImage(name), node(info)}})
	} else {
		err = l.directories(cmd, name)
	}
	if err != nil {
		return err
	}
	if l.json {
		return l.list.end()
	}
	return nil
}

// A listing is an inode and the name that it is listed by.
type listing struct {
	name string
	node *tree.Inode
}

func node(info fs.FileInfo) *tree.Inode {
	return info.Sys().(*tree.Inode) //nolint:forcetypeassert // promised by erofs.FS
}

// directories lists a directory and, if wanted, those below it: a directory's entries come
// together, those of its first directory next.
func (l *lister) directories(cmd *cobra.Command, top string) error {
	listed := map[uint64]bool{}
	for todo := []string{top}; len(todo) > 0; {
		if err := cmd.Context().Err(); err != nil {
			return err
		}
		dir := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		in, err := l.fsys.Inode(dir, true)
		if err != nil {
			return err
		}
		if listed[in.Nid] { // a damaged image could be listed for ever
			return &erofs.CorruptError{Path: pathInImage(dir), Nid: in.Nid, Offset: -1, Reason: "the directory is in several places"}
		}
		listed[in.Nid] = true
		entries, err := l.fsys.ReadDir(dir)
		if err != nil {
			return err
		}
		found := make([]listing, 0, len(entries))
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				return &fs.PathError{Op: "stat", Path: fsPath(joinPath(dir, e.Name())), Err: err}
			}
			name := e.Name()
			if l.recursive || l.json {
				name = joinPath(pathInImage(dir), name)
			}
			found = append(found, listing{name, node(info)})
		}
		if err := l.print(found); err != nil {
			return err
		}
		for i := len(found) - 1; l.recursive && i >= 0; i-- {
			if found[i].node.IsDir() {
				todo = append(todo, fsPath(found[i].name))
			}
		}
	}
	return nil
}

func (l *lister) print(found []listing) error {
	if l.json {
		for _, f := range found {
			if err := l.list.add(describeInode(f.name, f.node)); err != nil {
				return err
			}
		}
		return nil
	}
	if l.long {
		rows := make([][]string, len(found))
		for i, f := range found {
			rows[i] = []string{
				modeText(f.node), fmt.Sprint(f.node.Nlink), fmt.Sprint(f.node.UID), fmt.Sprint(f.node.GID),
				sizeText(f.node), timeText(f.node.Mtime, false), l.label(f),
			}
		}
		return columns(l.w, rows, 1, 2, 3, 4)
	}
	for _, f := range found {
		if _, err := fmt.Fprintln(l.w, l.label(f)); err != nil {
			return err
		}
	}
	return nil
}

// label is a file's name, and in long lists what it points to.
func (l *lister) label(f listing) string {
	text := nameText(f.name, f.node, l.paint)
	if l.long && f.node.IsSymlink() {
		text += " -> " + printable(f.node.Target)
	}
	return text
}
