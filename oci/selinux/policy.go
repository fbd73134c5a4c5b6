package selinux

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-composefs/composefs/tree"
)

// Errors that callers branch on.
var (
	// ErrNoPolicy reports a tree without a policy.
	ErrNoPolicy = errors.New("no SELinux policy")
	// ErrPolicy reports a policy that cannot be understood.
	ErrPolicy = errors.New("bad SELinux policy")
	// ErrLimit reports a policy that is too large, or costs too much to apply.
	ErrLimit = errors.New("SELinux policy beyond the limits")
)

// Source is a policy as text. What is empty is not there.
type Source struct {
	FileContexts string // required
	Local        string // file_contexts.local
	Homedirs     string // file_contexts.homedirs
	SubsDist     string // file_contexts.subs_dist
	Subs         string // file_contexts.subs
}

const (
	// maxFile is how many bytes a file of a policy may have; those of distributions have less than one MiB.
	maxFile = 16 << 20
	// maxSpecs is how many specs there may be; distributions have less than 10000.
	maxSpecs = 100_000
	// maxPattern is how many bytes an expression may have.
	maxPattern = 4096
	// maxPath is how many bytes a path may have.
	maxPath = 1 << 20
)

// Policy says which labels files have. It is safe for concurrent use.
type Policy struct {
	labels  []string // of the specs; "" means none
	program *program
	slow    []slowSpec        // by the number of their specs, which are not in program
	subs    map[string]string // from path to path
}

// spec is a line of file_contexts.
type spec struct {
	pattern string
	kind    byte // of files, or 0
	label   string
}

// New returns the policy of a text. Its error wraps [ErrPolicy] or [ErrLimit], and names file and line.
func New(s Source) (*Policy, error) {
	p := &Policy{program: newProgram(), subs: map[string]string{}}
	for _, f := range []struct{ name, text string }{
		{"file_contexts", s.FileContexts}, {"file_contexts.local", s.Local}, {"file_contexts.homedirs", s.Homedirs},
	} {
		if err := eachLine(f.name, f.text, p.addSpec); err != nil {
			return nil, err
		}
	}
	for _, f := range []struct{ name, text string }{
		{"file_contexts.subs_dist", s.SubsDist}, {"file_contexts.subs", s.Subs},
	} {
		if err := eachLine(f.name, f.text, p.addSub); err != nil {
			return nil, err
		}
	}
	p.program.finish()
	return p, nil
}

// eachLine calls do with the fields of all lines but empty ones and comments.
func eachLine(name, text string, do func(fields []string) error) error {
	if len(text) > maxFile {
		return fmt.Errorf("%w: %s has %d bytes, at most %d are possible", ErrLimit, name, len(text), maxFile)
	}
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0][0] == '#' {
			continue
		}
		if err := do(fields); err != nil {
			return fmt.Errorf("%s line %d: %w", name, number, err)
		}
	}
	return nil
}

// addSpec adds the spec of a line.
func (p *Policy) addSpec(fields []string) error {
	s := spec{pattern: fields[0]}
	switch len(fields) {
	case 2:
		s.label = fields[1]
	case 3:
		if len(fields[1]) != 2 || fields[1][0] != '-' || !strings.ContainsRune("-dlbcps", rune(fields[1][1])) {
			return fmt.Errorf("%w: %.20q is no type of file", ErrPolicy, fields[1])
		}
		s.kind, s.label = fields[1][1], fields[2]
	default:
		return fmt.Errorf("%w: %d fields, want an expression, perhaps a type, and a label", ErrPolicy, len(fields))
	}
	switch {
	case len(p.labels) == maxSpecs:
		return fmt.Errorf("%w: more than %d specs", ErrLimit, maxSpecs)
	case len(s.pattern) > maxPattern:
		return fmt.Errorf("%w: an expression of %d bytes, at most %d are possible", ErrLimit, len(s.pattern), maxPattern)
	}
	number := int32(len(p.labels))
	if s.label == "<<none>>" {
		s.label = ""
	}
	p.labels = append(p.labels, strings.Clone(s.label))
	known, err := p.program.add(s.expression(), number)
	if err != nil || known {
		return err
	}
	slow, err := newSlowSpec(s, number)
	if err != nil {
		return err
	}
	if len(p.slow) == maxSlow {
		return fmt.Errorf("%w: more than %d expressions that look around", ErrLimit, maxSlow)
	}
	p.slow = append(p.slow, slow)
	return nil
}

// expression returns the one for a path that the letter of a type follows, both of bytes as latin1 has them.
func (s *spec) expression() string {
	kind := "."
	if s.kind != 0 {
		kind = string(s.kind)
	}
	return latin1("^(" + s.pattern + ")" + kind + "$")
}

// latin1 makes a character of each byte, so that what works with characters works with bytes.
func latin1(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

// addSub adds the substitution of a line.
func (p *Policy) addSub(fields []string) error {
	if len(fields) != 2 {
		return fmt.Errorf("%w: %d fields, want two paths", ErrPolicy, len(fields))
	}
	if len(p.subs) == maxSpecs {
		return fmt.Errorf("%w: more than %d substitutions", ErrLimit, maxSpecs)
	}
	p.subs[strings.Clone(fields[0])] = strings.Clone(fields[1])
	return nil
}

// letter is that of the type of a file in a policy.
func letter(n *tree.Inode) byte {
	switch n.Type() {
	case tree.TypeDir:
		return 'd'
	case tree.TypeSymlink:
		return 'l'
	case tree.TypeBlock:
		return 'b'
	case tree.TypeChar:
		return 'c'
	case tree.TypeFIFO:
		return 'p'
	case tree.TypeSocket:
		return 's'
	}
	return '-'
}
