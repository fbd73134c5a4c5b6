package main

import (
	"bufio"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/internal/atomicfile"
	"github.com/go-composefs/composefs/report"
	"github.com/go-composefs/composefs/repository"
)

func (a *app) reportCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "report --html FILE",
		Short: "write a page that shows what the repository holds",
		Long: `report writes one page of HTML for a browser: what each image costs, who shares what with whom, and maps of
where in an image its bytes are. The page is a file that needs no other and loads nothing, so that it can be
sent to somebody. "-" is standard output.`,
		Example: `  composefs report --html report.html && xdg-open report.html`,
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output == "" {
				return usagef("--html FILE is missing")
			}
			r, err := a.openRepository(cmd, repository.Options{ReadOnly: true})
			if err != nil {
				return err
			}
			defer r.Close()
			page, err := report.Collect(cmd.Context(), r)
			if err != nil {
				return err
			}
			names, err := containerNames(cmd.Context(), r)
			if err != nil {
				return err
			}
			for i := range page.Images {
				img := &page.Images[i]
				img.Names = append(img.Names, names[img.Digest]...)
			}
			if err := a.writeReport(page, output); err != nil {
				return err
			}
			if len(page.Broken) > 0 {
				return corrupt(page.Broken[0].Reason)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&output, "html", "", "write the page to `FILE`")
	return cmd
}

func (a *app) writeReport(page *report.Report, output string) error {
	if output == "-" {
		return a.result(func(w *bufio.Writer) error { return page.Write(w) })
	}
	f, err := atomicfile.Create(output, 0o666)
	if err != nil {
		return err
	}
	defer f.Abort()
	w := bufio.NewWriter(f)
	err = page.Write(w)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return err
	}
	return f.Commit()
}
