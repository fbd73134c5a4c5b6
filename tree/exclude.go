package tree

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// ErrPattern reports an exclude pattern that means nothing.
var ErrPattern = errors.New("bad exclude pattern")

// An exclude is one pattern of [ScanOptions].Exclude, taken apart.
type exclude struct {
	parts   []string // of the path, each matched by path.Match; "**" stands for any number
	dirOnly bool
	keep    bool // "!": what matches is not excluded
}

const anyParts = "**"

func parseExcludes(patterns []string) ([]exclude, error) {
	var list []exclude
	for _, pattern := range patterns {
		x, err := parseExclude(pattern)
		if err != nil {
			return nil, fmt.Errorf("%w: %q", ErrPattern, pattern)
		}
		list = append(list, x)
	}
	return list, nil
}

func parseExclude(pattern string) (exclude, error) {
	var x exclude
	pattern, x.keep = strings.CutPrefix(pattern, "!")
	pattern, x.dirOnly = strings.CutSuffix(pattern, "/")
	if !strings.Contains(pattern, "/") {
		x.parts = []string{anyParts}
	}
	x.parts = append(x.parts, strings.Split(strings.TrimPrefix(pattern, "/"), "/")...)
	for _, part := range x.parts {
		if part == "" || part == "." || part == ".." {
			return exclude{}, ErrPattern
		}
		if _, err := path.Match(part, ""); err != nil {
			return exclude{}, err
		}
	}
	return x, nil
}

// excluded says whether the file at the path, given as its components, is excluded. The last
// pattern that matches decides.
func excluded(list []exclude, parts []string, isDir bool) bool {
	for i := len(list) - 1; i >= 0; i-- {
		if x := &list[i]; (isDir || !x.dirOnly) && x.match(parts) {
			return !x.keep
		}
	}
	return false
}

func (x *exclude) match(parts []string) bool {
	if len(x.parts) == 2 && x.parts[0] == anyParts {
		// A mere name, the usual thing: how deep the file is does not matter.
		return x.parts[1] == anyParts || matchPart(x.parts[1], parts[len(parts)-1])
	}
	return matchParts(x.parts, parts)
}

// matchParts matches whole paths. When a part does not fit, the latest "**" takes one part
// more; earlier ones need not be tried again, so the work is bounded by the product of the
// lengths.
func matchParts(pattern, parts []string) bool {
	p, i := 0, 0
	star, starAt := -1, 0
	for i < len(parts) {
		switch {
		case p < len(pattern) && pattern[p] == anyParts:
			star, starAt = p, i
			p++
		case p < len(pattern) && matchPart(pattern[p], parts[i]):
			p++
			i++
		case star >= 0:
			starAt++
			p, i = star+1, starAt
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == anyParts {
		p++
	}
	return p == len(pattern)
}

func matchPart(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}
