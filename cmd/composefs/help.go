package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "explain a command",
		Example: `  composefs help build`,
		Args:    arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(cmd.Root(), args[0])
			}
			return found.Help()
		},
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var names []cobra.Completion
			for _, c := range cmd.Root().Commands() {
				if c.IsAvailableCommand() {
					names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "print the completion script of a shell",
		Long:  `completion prints the script by which bash, zsh, fish or powershell complete command lines of composefs.`,
		Example: `  source <(composefs completion bash)
  composefs completion bash > /etc/bash_completion.d/composefs
  composefs completion zsh > "${fpath[1]}/_composefs"
  composefs completion fish > ~/.config/fish/completions/composefs.fish`,
		Args:              arguments(1, 1),
		ValidArgsFunction: cobra.FixedCompletions([]cobra.Completion{"bash", "zsh", "fish", "powershell"}, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			generate := map[string]func(io.Writer) error{
				"bash":       func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
				"zsh":        root.GenZshCompletion,
				"fish":       func(w io.Writer) error { return root.GenFishCompletion(w, true) },
				"powershell": root.GenPowerShellCompletionWithDesc,
			}[args[0]]
			if generate == nil {
				return usagef("unknown shell %q: want bash, zsh, fish or powershell", args[0])
			}
			return a.result(func(w *bufio.Writer) error { return generate(w) })
		},
	}
}

// help prints what --help does.
func (a *app) help(c *cobra.Command, _ []string) {
	w := bufio.NewWriter(a.out)
	defer w.Flush() // who asks for help sees whether it comes
	paint := a.painter(a.out)
	section := func(title string) { fmt.Fprintf(w, "\n%s\n", paint(bold, title+":")) }

	fmt.Fprintln(w, description(c))
	section("Usage")
	fmt.Fprintf(w, "  %s\n", synopsis(c))
	for _, group := range c.Groups() {
		section(group.Title)
		for _, sub := range c.Commands() {
			if sub.GroupID == group.ID && sub.IsAvailableCommand() {
				fmt.Fprintf(w, "  %-12s%s\n", sub.Name(), sub.Short)
			}
		}
	}
	section("Options")
	fmt.Fprint(w, optionsOf(c).FlagUsagesWrapped(helpWidth(a.out)))
	if c.Example != "" {
		section("Examples")
		fmt.Fprintln(w, c.Example)
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\n`%s help COMMAND` explains a command.\n", c.Name())
	}
}

// synopsis is the form of a command line.
func synopsis(c *cobra.Command) string {
	_, arguments, _ := strings.Cut(c.Use, " ")
	return strings.TrimSpace(c.CommandPath() + " [OPTIONS] " + arguments)
}

// description says what a command does.
func description(c *cobra.Command) string {
	if c.Long != "" {
		return c.Long
	}
	return c.Name() + ": " + c.Short
}

// optionsOf returns the options of a command and those of all commands.
func optionsOf(c *cobra.Command) *pflag.FlagSet {
	c.InitDefaultHelpFlag()
	c.Flags().Lookup("help").Usage = "print this text"
	options := pflag.NewFlagSet(c.Name(), pflag.ContinueOnError)
	options.AddFlagSet(c.NonInheritedFlags())
	options.AddFlagSet(c.InheritedFlags())
	return options
}

// helpWidth is how long lines of help may be.
func helpWidth(out *os.File) int {
	const wide = 110
	if width, _, err := term.GetSize(int(out.Fd())); err == nil && width > 40 {
		return min(width, wide)
	}
	return wide
}
