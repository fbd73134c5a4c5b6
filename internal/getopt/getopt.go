// Package getopt reads command lines as getopt_long(3) of the GNU C library does, for programs
// that stand in for C programs: scripts rely on what it accepts.
//
//	tool --opt V  --opt=V  --op V     long options, also by a unique prefix of the name
//	tool -o V  -oV  -xyz              short options, clustered if they take no value
//	tool FILE --opt FILE2             options among the arguments: POSIXLY_CORRECT forbids it
//	tool -- --opt                     what follows "--" is arguments; "-" is always one
//
// A name that is given in full wins over a longer one that it is a prefix of.
package getopt

import (
	"fmt"
	"iter"
	"os"
	"strings"
)

// Option describes one option.
type Option struct {
	Name  string // long name without dashes, or one character for a short option
	Value bool   // it takes a value, which must be there
}

// Match is an option met on the command line.
type Match struct {
	Name  string // as in the Option
	Value string // empty if it takes none
}

// Problem says what is wrong with an option.
type Problem int

// What can be wrong with an option.
const (
	Unknown Problem = iota
	Ambiguous
	MissingValue
	UnwantedValue
)

// Error is an option that makes no sense. Its text is that of the GNU C library, without the
// program's name in front.
type Error struct {
	Problem Problem
	Option  string   // as far as it is known: with dashes if it is long, else one character
	Others  []string // Ambiguous: the options that it may be, with dashes
}

func (e *Error) Error() string {
	short := !strings.HasPrefix(e.Option, "--")
	switch {
	case e.Problem == Ambiguous:
		return fmt.Sprintf("option '%s' is ambiguous; possibilities: '%s'", e.Option, strings.Join(e.Others, "' '"))
	case e.Problem == UnwantedValue:
		return fmt.Sprintf("option '%s' doesn't allow an argument", e.Option)
	case e.Problem == MissingValue && short:
		return fmt.Sprintf("option requires an argument -- '%s'", e.Option)
	case e.Problem == MissingValue:
		return fmt.Sprintf("option '%s' requires an argument", e.Option)
	case short:
		return fmt.Sprintf("invalid option -- '%s'", e.Option)
	}
	return fmt.Sprintf("unrecognized option '%s'", e.Option)
}

// Parser reads one command line. It is not safe for concurrent use.
type Parser struct {
	options []Option
	rest    []string // not looked at yet
	args    []string // the arguments met so far
	posix   bool     // the first argument ends the options
}

// New prepares to read args, the command line without the program's name.
func New(args []string, options []Option) *Parser {
	_, posix := os.LookupEnv("POSIXLY_CORRECT")
	return &Parser{options: options, rest: args, posix: posix}
}

// Options returns the options in the order of the command line. Errors are of type [*Error];
// the one who goes on after an error gets the options behind it.
func (p *Parser) Options() iter.Seq2[Match, error] {
	return func(yield func(Match, error) bool) {
		for len(p.rest) > 0 {
			arg := p.rest[0]
			p.rest = p.rest[1:]
			switch {
			case arg == "--":
				return
			case strings.HasPrefix(arg, "--"):
				if !yield(p.long(arg)) {
					return
				}
			case len(arg) > 1 && arg[0] == '-':
				if !p.cluster(arg[1:], yield) {
					return
				}
			default:
				p.args = append(p.args, arg)
				if p.posix {
					return
				}
			}
		}
	}
}

// Args returns what is no option. It is complete when Options has ended.
func (p *Parser) Args() []string { return append(p.args, p.rest...) }

// long reads an option that starts with two dashes.
func (p *Parser) long(arg string) (Match, error) {
	name, value, hasValue := strings.Cut(arg[2:], "=")
	var found []Option
	for _, o := range p.options {
		if len(o.Name) > 1 && strings.HasPrefix(o.Name, name) {
			if o.Name == name {
				found = []Option{o}
				break
			}
			found = append(found, o)
		}
	}
	switch {
	case len(found) == 0:
		return Match{}, &Error{Problem: Unknown, Option: arg}
	case len(found) > 1:
		others := make([]string, len(found))
		for i, o := range found {
			others[i] = "--" + o.Name
		}
		return Match{}, &Error{Problem: Ambiguous, Option: arg, Others: others}
	}
	o := found[0]
	if hasValue && !o.Value {
		return Match{}, &Error{Problem: UnwantedValue, Option: "--" + o.Name}
	}
	if o.Value && !hasValue {
		var ok bool
		if value, ok = p.take(); !ok {
			return Match{}, &Error{Problem: MissingValue, Option: "--" + o.Name}
		}
	}
	return Match{o.Name, value}, nil
}

// cluster reads the short options of one word. It reports whether the caller wants more.
func (p *Parser) cluster(word string, yield func(Match, error) bool) bool {
	for i := range len(word) {
		name := word[i : i+1]
		o, known := p.short(name)
		switch {
		case !known:
			if !yield(Match{}, &Error{Problem: Unknown, Option: name}) {
				return false
			}
			continue
		case !o.Value:
			if !yield(Match{Name: name}, nil) {
				return false
			}
			continue
		}
		value := word[i+1:]
		if value == "" {
			var ok bool
			if value, ok = p.take(); !ok {
				return yield(Match{}, &Error{Problem: MissingValue, Option: name})
			}
		}
		return yield(Match{name, value}, nil)
	}
	return true
}

func (p *Parser) short(name string) (Option, bool) {
	for _, o := range p.options {
		if o.Name == name {
			return o, true
		}
	}
	return Option{}, false
}

// take consumes the next word as a value, whatever it looks like.
func (p *Parser) take() (string, bool) {
	if len(p.rest) == 0 {
		return "", false
	}
	word := p.rest[0]
	p.rest = p.rest[1:]
	return word, true
}
