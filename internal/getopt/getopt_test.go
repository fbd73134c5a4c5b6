package getopt

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var options = []Option{
	{Name: "print-digest"},
	{Name: "print-digest-only"},
	{Name: "from-file"},
	{Name: "min-version", Value: true},
	{Name: "max-version", Value: true},
	{Name: "h"},
	{Name: "v"},
	{Name: "o", Value: true},
}

// parse writes down what a command line is understood as: name=value, !error, then arguments.
func parse(t *testing.T, line string) []string {
	t.Helper()
	p := New(strings.Fields(line), options)
	got := []string{}
	for m, err := range p.Options() {
		switch {
		case err != nil:
			got = append(got, "!"+err.Error())
		case m.Value != "":
			got = append(got, m.Name+"="+m.Value)
		default:
			got = append(got, m.Name)
		}
	}
	return append(append(got, "|"), p.Args()...)
}

func TestCommandLines(t *testing.T) {
	t.Setenv("POSIXLY_CORRECT", "") // restored at the end
	if err := os.Unsetenv("POSIXLY_CORRECT"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line string
		want []string
	}{
		{"", []string{"|"}},
		{"a b", []string{"|", "a", "b"}},
		{"- a", []string{"|", "-", "a"}},
		{"a --from-file b", []string{"from-file", "|", "a", "b"}},
		{"a -- --from-file -h", []string{"|", "a", "--from-file", "-h"}},
		{"-- --", []string{"|", "--"}},
		{"--print-digest a", []string{"print-digest", "|", "a"}},
		{"--print-digest-only a", []string{"print-digest-only", "|", "a"}},
		{"--print-digest- a", []string{"print-digest-only", "|", "a"}},
		{"--print-dig a", []string{"!option '--print-dig' is ambiguous; possibilities: '--print-digest' '--print-digest-only'", "|", "a"}},
		{"--m=1 a", []string{"!option '--m=1' is ambiguous; possibilities: '--min-version' '--max-version'", "|", "a"}},
		{"--mi=1", []string{"min-version=1", "|"}},
		{"--mi 1", []string{"min-version=1", "|"}},
		{"--mi --mi", []string{"min-version=--mi", "|"}},
		{"--mi --", []string{"min-version=--", "|"}},
		{"--min-version=1=2", []string{"min-version=1=2", "|"}},
		{"--min-version=", []string{"min-version", "|"}},
		{"a --min-version", []string{"!option '--min-version' requires an argument", "|", "a"}},
		{"--from=x", []string{"!option '--from-file' doesn't allow an argument", "|"}},
		{"--bogus=3 a", []string{"!unrecognized option '--bogus=3'", "|", "a"}},
		{"--h", []string{"!unrecognized option '--h'", "|"}},
		{"--=x", []string{"!option '--=x' is ambiguous; possibilities: '--print-digest' '--print-digest-only' '--from-file' '--min-version' '--max-version'", "|"}},
		{"-hv", []string{"h", "v", "|"}},
		{"-ho x", []string{"h", "o=x", "|"}},
		{"-hox -v", []string{"h", "o=x", "v", "|"}},
		{"-o -v", []string{"o=-v", "|"}},
		{"-o", []string{"!option requires an argument -- 'o'", "|"}},
		{"-xh a", []string{"!invalid option -- 'x'", "h", "|", "a"}},
		{"-h-", []string{"h", "!invalid option -- '-'", "|"}},
	} {
		if diff := cmp.Diff(c.want, parse(t, c.line)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.line, diff)
		}
	}
}

func TestPosixlyCorrectStopsAtTheFirstArgument(t *testing.T) {
	t.Setenv("POSIXLY_CORRECT", "")
	want := []string{"h", "|", "a", "-v", "--", "b"}
	if diff := cmp.Diff(want, parse(t, "-h a -v -- b")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestCallerMayStopAtAnError(t *testing.T) {
	p := New([]string{"-xh"}, options)
	for _, err := range p.Options() {
		if err == nil {
			t.Fatal("the first option is bad and passed")
		}
		break
	}
}
