package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// app is one run of the program: its streams and what the options for all commands say.
type app struct {
	streams
	quiet bool
}

const rootLong = `composefs makes, inspects and mounts composefs images.

An image holds the names and metadata of a file tree; the files' contents are objects in a store, a
directory that any number of images share. The kernel mounts an image with its store and, where the
filesystem has fs-verity, checks every byte that is read.`

const rootExample = `  # The tree's files go into the store, its metadata into the image.
  composefs build --store /srv/store /usr/share/doc doc.cfs

  # Show the tree at /mnt, and take it down again.
  composefs mount --store /srv/store doc.cfs /mnt
  composefs umount /mnt

  # Look into the image.
  composefs ls -l doc.cfs /
  composefs check --store /srv/store doc.cfs`

// composefs runs one command line and returns the exit code.
func composefs(ctx context.Context, std streams, args []string) int {
	a := &app{streams: std}
	root := a.rootCommand(args)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	// What fails because it was told to stop says only that.
	if ctx.Err() != nil {
		cause := context.Cause(ctx)
		if advised := (advisedError{}); errors.As(err, &advised) {
			cause = advisedError{cause, advised.advice}
		}
		err = cause
	}
	a.complain(cmd, err)
	return exitCode(err)
}

// rootCommand returns the command above all others, with those that a command line may need.
func (a *app) rootCommand(args []string) *cobra.Command {
	var showVersion bool
	root := &cobra.Command{
		Use:           "composefs COMMAND",
		Short:         "make, inspect and mount composefs images",
		Long:          rootLong,
		Example:       rootExample,
		SilenceErrors: true,
		SilenceUsage:  true,
		// Without this cobra prints help for a missing command and ends with 0.
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case showVersion:
				return a.printVersion()
			case len(args) > 0:
				return unknownCommand(cmd, args[0])
			}
			return usagef("COMMAND is missing")
		},
		Args: cobra.ArbitraryArgs,
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "print results and errors only: no progress, no remarks")
	root.Flags().BoolVar(&showVersion, "version", false, "print the version of this program")
	root.SetHelpFunc(a.help)
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddGroup(
		&cobra.Group{ID: groupBuild, Title: "Make images"},
		&cobra.Group{ID: groupInspect, Title: "Look into images"},
		&cobra.Group{ID: groupMount, Title: "Use images"},
		&cobra.Group{ID: groupRepository, Title: "Keep images in a repository"},
		&cobra.Group{ID: groupContainers, Title: "Container images"},
		&cobra.Group{ID: groupOther, Title: "More"},
	)
	help := a.helpCommand()
	help.GroupID = groupOther
	help.Args = usageArgs(help.Args)
	root.SetHelpCommand(help)
	for _, g := range a.commandGroups() {
		commands := g.commands()
		for _, c := range commands {
			c.GroupID = g.id
			c.Args = usageArgs(c.Args)
		}
		root.AddCommand(commands...)
		// The others' options, which nobody asked for, would be most of what a short run does.
		if len(args) > 0 && slices.ContainsFunc(commands, func(c *cobra.Command) bool {
			return c.Name() == args[0] || c.HasAlias(args[0])
		}) {
			return root
		}
	}
	root.AddCommand(help)
	return root
}

// commandGroup is commands of one group of the help, not all of it perhaps.
type commandGroup struct {
	id       string
	commands func() []*cobra.Command
}

// commandGroups returns all commands but help: first those that are to start fastest, last those that need
// all others.
func (a *app) commandGroups() []commandGroup {
	return []commandGroup{
		{id: groupOther, commands: func() []*cobra.Command {
			return []*cobra.Command{a.versionCommand(), a.doctorCommand()}
		}},
		{id: groupMount, commands: func() []*cobra.Command {
			return []*cobra.Command{a.mountCommand(), a.umountCommand(), a.mountsCommand(), a.exportCommand()}
		}},
		{id: groupBuild, commands: func() []*cobra.Command {
			return []*cobra.Command{a.buildCommand(), a.digestCommand()}
		}},
		{id: groupInspect, commands: func() []*cobra.Command {
			return []*cobra.Command{
				a.lsCommand(), a.statCommand(), a.catCommand(), a.dumpCommand(),
				a.objectsCommand(), a.diffCommand(), a.checkCommand(),
			}
		}},
		{id: groupRepository, commands: a.repositoryCommands},
		{id: groupContainers, commands: a.containerCommands},
		{id: groupOther, commands: func() []*cobra.Command {
			return []*cobra.Command{a.completionCommand(), a.manCommand()}
		}},
	}
}

// The groups of commands in the help.
const (
	groupBuild      = "build"
	groupInspect    = "inspect"
	groupMount      = "mount"
	groupRepository = "repository"
	groupContainers = "containers"
	groupOther      = "other"
)

// usageArgs makes what a command finds wrong with its arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// arguments is a check for at least low and at most high arguments (any number if high is
// negative) that names the missing one as the command's usage line does.
func arguments(low, high int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		names := strings.Fields(cmd.Use)[1:]
		switch {
		case len(args) < low:
			return fmt.Errorf("%s is missing", strings.Trim(names[len(args)], ".[]"))
		case high >= 0 && len(args) > high:
			return fmt.Errorf("unexpected argument %q", args[high])
		}
		return nil
	}
}

func unknownCommand(root *cobra.Command, name string) error {
	if root.SuggestionsMinimumDistance <= 0 {
		root.SuggestionsMinimumDistance = 2
	}
	if similar := root.SuggestionsFor(name); len(similar) > 0 {
		return usagef("unknown command %q: do you mean %q?", name, strings.Join(similar, `" or "`))
	}
	return usagef("unknown command %q", name)
}

// complain prints an error and what can be done about it.
func (a *app) complain(cmd *cobra.Command, err error) {
	if errors.Is(err, errDifferent) {
		return
	}
	paint := a.painter(a.err)
	fmt.Fprintf(a.err, "%s %s\n", paint(red, "composefs:"), oneLine(err.Error()))
	advice := hint(err)
	if errors.As(err, new(usageError)) {
		advice = fmt.Sprintf("see `%s --help`", cmd.CommandPath())
	}
	if advice != "" {
		fmt.Fprintf(a.err, "%s %s\n", paint(cyan, "hint:"), advice)
	}
}

// remark tells something beside the result, unless that is unwanted.
func (a *app) remark(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintln(a.err, oneLine(fmt.Sprintf(format, args...)))
	}
}

// isTerminal says whether f shows its text to a human.
func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
