package selinux

import (
	"regexp"
	"strings"
	"testing"
)

// FuzzAutomaton holds the automaton against the regular expressions of the standard library.
func FuzzAutomaton(f *testing.F) {
	f.Add("/usr(/.*)? -d a\n/usr/[^/]+ b\n/usr/(x|y.z){2,3} -- c", "/usr/x")
	f.Add("/.* a\n.*/b$ b\n(/c)*$|/d b", "/b")
	f.Add("/\\w+\\.so(\\..*)? -l a\n^^/a b\n(?i)/A c\n(^|x)/a d", "/a.so.1")
	f.Add("/é[é-ü]? a\n/[[:alpha:]]*\\x41 b", "/éA")
	f.Fuzz(func(t *testing.T, specs, path string) {
		p, err := New(Source{FileContexts: specs})
		if err != nil || len(specs) > 1000 || len(path) > 200 {
			return
		}
		for _, kind := range "-dl" {
			want, number := noSpec, 0
			for line := range strings.SplitSeq(specs, "\n") {
				fields := strings.Fields(line)
				if len(fields) == 0 || fields[0][0] == '#' {
					continue
				}
				s := spec{pattern: fields[0]}
				if len(fields) == 3 {
					s.kind = fields[1][1]
				}
				re, err := regexp.Compile("(?s)" + s.expression())
				if err != nil {
					return // one that looks around
				}
				if re.MatchString(latin1(path + string(kind))) {
					want = number
				}
				number++
			}
			l, err := p.labeler()
			if err != nil {
				t.Fatal(err)
			}
			at, err := l.run(l.start, path+string(kind))
			if err != nil {
				t.Fatal(err)
			}
			got := int(l.match(at))
			for _, slow := range p.slow { // word boundaries and lines are the other matcher's
				if int(slow.spec) >= got || int(slow.spec) == want {
					return
				}
			}
			if got != want {
				t.Fatalf("spec %d of %q matches %q, want %d", got, specs, path, want)
			}
		}
	})
}
