package selinux

import (
	"fmt"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
)

const (
	// maxSlow is how many expressions may need a matcher that goes back.
	maxSlow = 1000
	// slowTime is how long one match may take, and slowTotal all of them.
	slowTime  = 200 * time.Millisecond
	slowTotal = 30 * time.Second
)

// slowSpec is an expression that no automaton of ours knows: one that looks around, say.
type slowSpec struct {
	spec   int32
	prefix string // what a path begins with that it matches
	regexp *regexp2.Regexp
}

func newSlowSpec(s spec, number int32) (slowSpec, error) {
	re, err := regexp2.Compile(s.expression(), regexp2.Singleline, regexp2.RE2)
	if err != nil {
		return slowSpec{}, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	re.MatchTimeout = slowTime
	return slowSpec{number, literalPrefix(s.pattern), re}, nil
}

// literalPrefix returns what every match of an expression begins with, or a part of it.
func literalPrefix(pattern string) string {
	const special = `\.[](){}*+?|^$`
	if strings.Contains(pattern, "|") {
		return "" // which may be an alternative to everything before it
	}
	end := strings.IndexAny(pattern, special)
	if end < 0 {
		return pattern
	}
	if end > 0 && strings.IndexByte("*?{", pattern[end]) >= 0 {
		end-- // which may be missing
	}
	return pattern[:end]
}

// matches matches a path with the letter of a type.
func (s *slowSpec) matches(path []byte, latin string) (bool, error) {
	if len(path) < len(s.prefix) || string(path[:len(s.prefix)]) != s.prefix {
		return false, nil
	}
	ok, err := s.regexp.MatchString(latin)
	if err != nil {
		return false, fmt.Errorf("%w: an expression for %q: %w", ErrLimit, path, err)
	}
	return ok, nil
}
