package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/internal/atomicfile"
)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "write the manual pages",
		Long: `man writes the manual pages of this program, composefs(1) and one for each command, to a directory.
The same program always writes the same bytes.`,
		Example: `  composefs man /usr/local/share/man/man1`,
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root := cmd.Root()
			for _, c := range append([]*cobra.Command{root}, root.Commands()...) {
				if c != root && !c.IsAvailableCommand() {
					continue
				}
				name := filepath.Join(args[0], manName(c)+".1")
				if err := writeManPage(name, c); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// manName is the name of a command's page, without its section.
func manName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func writeManPage(name string, c *cobra.Command) error {
	var page bytes.Buffer
	manPage(&page, c)
	f, err := atomicfile.Create(name, 0o644)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(page.Bytes()); err != nil {
		return err
	}
	return f.Commit()
}
