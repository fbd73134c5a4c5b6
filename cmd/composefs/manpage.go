package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/go-composefs/composefs/internal/version"
)

// exitStatus is said by every page. A command that means something else by a code has an
// annotation of this name and the code.
const annotateExit = "exit-"

var exitStatus = [][2]string{
	{"0", "Everything went well."},
	{"1", "The command failed; nothing is left of what it began."},
	{"2", "The command line makes no sense."},
	{"3", "A verification failed, or something is corrupt."},
}

const manEnvironment = `NO_COLOR, if it is not empty, and TERM=dumb switch colours off, which are only used on a terminal.`

// manPage writes the manual page of a command in the man(7) macros.
func manPage(w *bytes.Buffer, c *cobra.Command) {
	name := manName(c)
	fmt.Fprintf(w, ".TH %s 1 \"\" \"composefs %s\" \"composefs manual\"\n", strings.ToUpper(roff(name)), roff(version.String()))
	w.WriteString(".SH NAME\n")
	fmt.Fprintf(w, "%s \\- %s\n", roff(name), roff(c.Short))
	w.WriteString(".SH SYNOPSIS\n")
	fmt.Fprintf(w, ".B %s\n%s\n", roff(c.CommandPath()), roff(strings.TrimPrefix(synopsis(c), c.CommandPath()+" ")))
	w.WriteString(".SH DESCRIPTION\n")
	roffText(w, description(c))
	if !c.HasParent() {
		manCommands(w, c)
	}
	manOptions(w, c)
	if c.Example != "" {
		w.WriteString(".SH EXAMPLES\n")
		roffText(w, c.Example)
	}
	w.WriteString(".SH EXIT STATUS\n")
	for _, s := range exitStatus {
		code, meaning := s[0], s[1]
		if own, ok := c.Annotations[annotateExit+code]; ok {
			meaning = own
		}
		fmt.Fprintf(w, ".TP\n.B %s\n%s\n", code, roff(meaning))
	}
	w.WriteString(".SH ENVIRONMENT\n")
	roffText(w, manEnvironment)
	manSeeAlso(w, c)
}

// manCommands lists the commands by their groups.
func manCommands(w *bytes.Buffer, root *cobra.Command) {
	w.WriteString(".SH COMMANDS\n")
	for _, group := range root.Groups() {
		fmt.Fprintf(w, ".SS %s\n", roff(group.Title))
		for _, c := range root.Commands() {
			if c.GroupID == group.ID && c.IsAvailableCommand() {
				fmt.Fprintf(w, ".TP\n\\fB%s\\fR(1)\n%s\n", roff(manName(c)), roff(c.Short))
			}
		}
	}
}

// manOptions lists the options of the command and those of all commands.
func manOptions(w *bytes.Buffer, c *cobra.Command) {
	w.WriteString(".SH OPTIONS\n")
	optionsOf(c).VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		variable, usage := pflag.UnquoteUsage(f)
		w.WriteString(".TP\n")
		if f.Shorthand != "" {
			fmt.Fprintf(w, "\\fB\\-%s\\fR, ", roff(f.Shorthand))
		}
		fmt.Fprintf(w, "\\fB\\-\\-%s\\fR", roff(f.Name))
		if variable != "" {
			fmt.Fprintf(w, "=\\fI%s\\fR", roff(strings.ToUpper(variable)))
		}
		fmt.Fprintf(w, "\n%s", roff(usage))
		switch f.DefValue {
		case "", "false", "[]", "0":
		default:
			fmt.Fprintf(w, " (default: %s)", roff(f.DefValue))
		}
		w.WriteString("\n")
	})
}

func manSeeAlso(w *bytes.Buffer, c *cobra.Command) {
	w.WriteString(".SH SEE ALSO\n")
	if c.HasParent() {
		fmt.Fprintf(w, "\\fB%s\\fR(1), ", roff(manName(c.Root())))
	} else {
		w.WriteString("\\fBmkcomposefs\\fR(1), \\fBmount\\fR(8), ")
	}
	w.WriteString("\\fBcomposefs\\-dump\\fR(5)\n")
}

// roffText writes paragraphs, which empty lines part; indented ones stay as they are.
func roffText(w *bytes.Buffer, text string) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			w.WriteString(".PP\n")
		}
		if !strings.HasPrefix(paragraph, " ") {
			fmt.Fprintf(w, "%s\n", roff(paragraph))
			continue
		}
		w.WriteString(".nf\n.RS 4\n")
		for line := range strings.SplitSeq(paragraph, "\n") {
			fmt.Fprintf(w, "%s\n", roff(strings.TrimPrefix(line, "  ")))
		}
		w.WriteString(".RE\n.fi\n")
	}
}

// roff makes plain text of characters that mean something to roff: the backslash, the minus of
// options, and what begins a request at the start of a line.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "~", `\(ti`, "^", `\(ha`, "…", `\&...`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if strings.HasPrefix(strings.TrimLeft(line, " "), ".") {
			lines[i] = strings.Replace(line, ".", `\&.`, 1)
		}
	}
	return strings.Join(lines, "\n")
}
