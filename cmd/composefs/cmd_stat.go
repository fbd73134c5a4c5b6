package main

import (
	"bufio"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/tree"
)

func (a *app) statCommand() *cobra.Command {
	var asJSON, follow bool
	cmd := &cobra.Command{
		Use:   "stat IMAGE PATH",
		Short: "tell everything about one file of an image",
		Long: `stat prints all that an image knows of a file: type, mode, owner, size, time, extended attributes,
where its content is, the content's fs-verity digest, and the number of its inode in the image (nid).

A symbolic link is described itself, not what it leads to, unless --follow is given.`,
		Example: `  composefs stat doc.cfs /bash/copyright
  composefs stat --json doc.cfs /bash/copyright | jq -r .digest`,
		Args: arguments(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			img, err := a.openImage(cmd, args[0])
			if err != nil {
				return err
			}
			defer img.Close()
			name := fsPath(args[1])
			fsys := img.FS(erofs.FSOptions{})
			stat := fsys.Lstat
			if follow {
				stat = fsys.Stat
			}
			info, err := stat(name)
			if err != nil {
				return img.failed(err)
			}
			in, err := fsys.Inode(name, follow)
			if err != nil {
				return img.failed(err)
			}
			found := describeInode(pathInImage(name), node(info))
			found.Nid = &in.Nid
			if asJSON {
				return a.printJSON(found)
			}
			return a.result(func(w *bufio.Writer) error { return printStat(w, found, node(info)) })
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "L", false, "describe what a symbolic link leads to")
	jsonFlag(cmd.Flags(), &asJSON)
	imageFlags(a, cmd)
	return cmd
}

func printStat(w *bufio.Writer, j inodeJSON, n *tree.Inode) error {
	rows := [][]string{
		{"path:", printable(j.Path)},
		{"type:", j.Type},
		{"mode:", fmt.Sprintf("%s %s", j.Mode, modeText(n)[:10])},
		{"owner:", fmt.Sprintf("%d:%d", j.UID, j.GID)},
		{"links:", fmt.Sprint(j.Nlink)},
		{"size:", fmt.Sprint(j.Size)},
		{"mtime:", timeText(n.Mtime, true) + " UTC"},
	}
	add := func(key, value string) {
		if value != "" {
			rows = append(rows, []string{key + ":", value})
		}
	}
	if j.Device != nil {
		add("device", fmt.Sprintf("%d,%d", j.Device.Major, j.Device.Minor))
	}
	add("target", printable(j.Target))
	switch j.Stored {
	case storedInImage:
		add("content", "in the image")
	case storedOutside:
		add("content", "in the store")
	}
	add("digest", j.Digest.String())
	add("object", printable(j.Backing))
	add("nid", fmt.Sprint(*j.Nid))
	for _, x := range j.Xattrs {
		add("xattr", printable(x.Name)+"="+printable(x.Value))
	}
	return columns(w, rows)
}
