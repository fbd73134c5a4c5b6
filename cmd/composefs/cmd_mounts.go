package main

import (
	"bufio"
	"strings"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/mount"
)

func (a *app) mountsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "mounts",
		Short: "list composefs mounts",
		Long: `mounts lists the composefs mounts, also those of other programs, as the kernel tells them: where, of
which image, whether files are verified, the image's digest and who vouches for it (the kernel, or the
one who mounted it and computed it), and the stores. "-" is what the kernel does not know.`,
		Example: `  composefs mounts
  composefs mounts --json | jq -r '.[] | select(.verity != "require") | .target'`,
		Args: arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			infos, err := mount.List()
			if err != nil {
				return err
			}
			if asJSON {
				if infos == nil {
					infos = []mount.Info{}
				}
				return a.printJSON(infos)
			}
			if len(infos) == 0 {
				return nil
			}
			rows := [][]string{{"TARGET", "IMAGE", "VERITY", "DIGEST", "STORES"}}
			for _, info := range infos {
				rows = append(rows, []string{
					printable(info.Target), orDash(printable(info.Image)), info.Verity,
					shortDigest(info), orDash(printable(strings.Join(info.Objects, " "))),
				})
			}
			return a.result(func(w *bufio.Writer) error { return columns(w, rows) })
		},
	}
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
