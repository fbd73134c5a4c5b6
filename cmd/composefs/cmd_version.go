package main

import (
	"bufio"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/internal/version"
)

// versionJSON is the output of `version --json`.
type versionJSON struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "print the version of this program",
		Example: `  composefs version --json`,
		Args:    arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return a.printJSON(versionJSON{version.String(), runtime.Version(), runtime.GOOS, runtime.GOARCH})
			}
			return a.printVersion()
		},
	}
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

func (a *app) printVersion() error {
	return a.result(func(w *bufio.Writer) error {
		_, err := fmt.Fprintln(w, "composefs", version.String())
		return err
	})
}
