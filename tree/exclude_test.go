package tree

import (
	"errors"
	"path"
	"strings"
	"testing"
)

func TestExcludePatterns(t *testing.T) {
	for _, test := range []struct {
		patterns string // separated by blanks
		match    string // paths, directories with a slash at the end
		other    string
	}{
		{"*.o", "a.o x/y/b.o dir.o/", "a.oo x.o/y"},
		{"tmp", "tmp tmp/ x/tmp", "tmpx x/tmp/y"},
		{"tmp/", "tmp/ x/tmp/", "tmp x/tmp"},
		{"/tmp", "tmp tmp/", "x/tmp"},
		{"/tmp/", "tmp/", "tmp x/tmp/"},
		{"var/cache", "var/cache var/cache/", "x/var/cache cache"},
		{"var/*", "var/a var/b/", "var var/b/c"},
		{"var/**", "var/a var/b/c", "x/var/a"},
		{"**/lib", "lib usr/lib a/b/lib/", "lib/a libx"},
		{"usr/**/doc", "usr/doc usr/share/doc usr/a/b/doc", "usr/share/docs doc usr"},
		{"a/**/b/**/c", "a/b/c a/x/b/y/c a/b/b/c a/b/c/b/c", "a/c b/c a/b a/b/c/d"},
		{"**", "a a/b", ""},
		{"[a-c]?", "ax by c1", "dx a abc"},
		{`\!x`, "!x", "x"},
		{"\xff*", "\xff \xffa", "a"},
		{"*.o !keep.o", "a.o", "keep.o x/keep.o"},
		{"!keep.o *.o", "a.o keep.o", ""},
		{"* !*.txt a.txt", "x a.txt", "b.txt"},
	} {
		list, err := parseExcludes(strings.Fields(test.patterns))
		if err != nil {
			t.Errorf("%s: %v", test.patterns, err)
			continue
		}
		check := func(paths string, want bool) {
			for _, p := range strings.Fields(paths) {
				p, isDir := strings.CutSuffix(p, "/")
				if got := excluded(list, strings.Split(p, "/"), isDir); got != want {
					t.Errorf("%q on %q: excluded is %v", test.patterns, p, got)
				}
			}
		}
		check(test.match, true)
		check(test.other, false)
	}
}

func TestExcludeRefusesPatternsThatMeanNothing(t *testing.T) {
	for _, pattern := range []string{"", "/", "!", "a//b", "./a", "a/..", "[a", "a/[/b", `\`, "a//"} {
		if _, err := parseExcludes([]string{"fine", pattern}); !errors.Is(err, ErrPattern) {
			t.Errorf("%q gives %v", pattern, err)
		}
	}
}

// matchSlowly says what matchParts should, by trying everything.
func matchSlowly(pattern, parts []string) bool {
	if len(pattern) == 0 {
		return len(parts) == 0
	}
	if pattern[0] == anyParts {
		return matchSlowly(pattern[1:], parts) || len(parts) > 0 && matchSlowly(pattern, parts[1:])
	}
	if len(parts) == 0 {
		return false
	}
	ok, err := path.Match(pattern[0], parts[0])
	return err == nil && ok && matchSlowly(pattern[1:], parts[1:])
}

func FuzzExclude(f *testing.F) {
	f.Add("a/**/b/*", "a/x/b/y")
	f.Add("**/**/?", "a/b/c")
	f.Add("*.o", "a/b.o")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		x, err := parseExclude(pattern)
		if err != nil || len(pattern) > 40 || len(name) > 40 {
			return
		}
		parts := strings.Split(name, "/")
		if got, want := x.match(parts), matchSlowly(x.parts, parts); got != want {
			t.Errorf("%q on %q: %v, want %v", x.parts, parts, got, want)
		}
	})
}

// A pattern must not take exponential time to fail.
func TestExcludeManyStars(t *testing.T) {
	x, err := parseExclude(strings.Repeat("**/a/", 200) + "b")
	if err != nil {
		t.Fatal(err)
	}
	if matchParts(x.parts, strings.Split(strings.Repeat("a/", 5000)+"c", "/")) {
		t.Error("matches")
	}
}
