package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-composefs/composefs/internal/progress"
)

// result runs write with the buffered standard output. That something could not be printed,
// such as on a full disk, is the command's failure.
func (a *app) result(write func(w *bufio.Writer) error) error {
	w := bufio.NewWriterSize(a.out, 64<<10)
	if err := write(w); err != nil {
		// What was printed up to here is right; the error says that it is not all.
		_ = w.Flush()
		return err
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write standard output: %w", err)
	}
	return nil
}

// printJSON prints one JSON value as the whole result.
func (a *app) printJSON(v any) error {
	return a.result(func(w *bufio.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	})
}

// jsonList prints a JSON array whose elements come one after another, each on a line of its
// own, so that long lists need no memory.
type jsonList struct {
	w     io.Writer
	count int
}

func (l *jsonList) add(v any) error {
	head := ",\n"
	if l.count == 0 {
		head = "[\n"
	}
	l.count++
	if _, err := io.WriteString(l.w, head); err != nil {
		return err
	}
	var line strings.Builder
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(l.w, strings.TrimSuffix(line.String(), "\n"))
	return err
}

func (l *jsonList) end() error {
	tail := "\n]\n"
	if l.count == 0 {
		tail = "[]\n"
	}
	_, err := io.WriteString(l.w, tail)
	return err
}

// counted says how many there are of something.
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// inBase64 returns the exact bytes of s for a JSON field beside its text, if s is not valid
// UTF-8 and JSON cannot hold it: names, targets and attribute values are bytes. Else it
// returns an empty string, and the field is left out.
func inBase64(s string) string {
	if utf8.ValidString(s) {
		return ""
	}
	return base64.StdEncoding.EncodeToString([]byte(s))
}

// printable makes bytes from an image fit for a line of a terminal: what is not printable
// UTF-8, and the backslash, is escaped as in dumps.
func printable(s string) string {
	plain := true
	for _, r := range s {
		if r == '\\' || r == utf8.RuneError || !unicode.IsPrint(r) {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r) && (r != utf8.RuneError || n > 1):
			b.WriteString(s[:n])
		default:
			for _, c := range []byte(s[:n]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		}
		s = s[n:]
	}
	return b.String()
}

// oneLine keeps what errors and remarks quote from disturbing the line or the terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ReplaceAll(strings.TrimSpace(s), "\n", "; "))
}

// color is an SGR parameter of ECMA-48.
type color int

const (
	bold   color = 1
	red    color = 31
	green  color = 32
	yellow color = 33
	blue   color = 34
	cyan   color = 36
)

// painter returns a function that colours text for f, or leaves it alone if f is no terminal
// that has colours, or the user wants none (no-color.org).
func (a *app) painter(f *os.File) func(color, string) string {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || !isTerminal(f) {
		return func(_ color, text string) string { return text }
	}
	return func(c color, text string) string {
		return "\x1b[" + strconv.Itoa(int(c)) + "m" + text + "\x1b[m"
	}
}

// columns prints rows of cells as a table: the columns named in right are aligned to the
// right, and the last one is not padded.
func columns(w io.Writer, rows [][]string, right ...int) error {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			switch {
			case slices.Contains(right, i):
				line.WriteString(pad + cell)
			case i < len(row)-1:
				line.WriteString(cell + pad)
			default:
				line.WriteString(cell)
			}
			if i < len(row)-1 {
				line.WriteString("  ")
			}
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// startMeter shows the progress of what takes long, unless the user wants quiet; then it
// returns nil, which is a meter that shows nothing.
func (a *app) startMeter(title string) *progress.Meter {
	if a.quiet {
		return nil
	}
	return progress.Start(a.err, title)
}
