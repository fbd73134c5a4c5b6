package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// helpOf returns the help that a tree of commands has for one of them.
func helpOf(t *testing.T, a *app, root *cobra.Command, name string) string {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "help"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	a.out = out
	root.SetArgs([]string{name, "--help"})
	if err := root.Execute(); err != nil {
		t.Fatalf("%s --help: %v", name, err)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCommandAloneIsTheSameAsAmongAll(t *testing.T) {
	var names []string
	all := (&app{}).rootCommand(nil)
	for _, c := range all.Commands() {
		names = append(append(names, c.Name()), c.Aliases...)
	}
	if len(names) < 40 {
		t.Fatalf("only %d commands: %v", len(names), names)
	}
	for _, name := range names {
		alone, among := &app{}, &app{}
		got := helpOf(t, alone, alone.rootCommand([]string{name}), name)
		if diff := cmp.Diff(helpOf(t, among, among.rootCommand(nil), name), got); diff != "" {
			t.Errorf("%s --help (-among all +alone):\n%s", name, diff)
		}
	}
}

func TestWhatListsCommandsListsAll(t *testing.T) {
	all := len((&app{}).rootCommand(nil).Commands())
	for _, args := range [][]string{{"help"}, {"man", "x"}, {"completion", "bash"}, {"--help"}, {"-q", "version"}, {"__complete", ""}, {"unknown"}, {"vers"}, {}} {
		root := (&app{}).rootCommand(args)
		root.InitDefaultHelpCmd()
		if got := len(root.Commands()); got != all {
			t.Errorf("%q: %d commands, there are %d", args, got, all)
		}
	}
}

// BenchmarkStart is what a run of `composefs version` does after the initialization of packages.
func BenchmarkStart(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		a := &app{}
		root := a.rootCommand([]string{"version", "--help"})
		root.SetHelpFunc(func(*cobra.Command, []string) {})
		root.SetOut(new(bytes.Buffer))
		root.SetArgs([]string{"version", "--help"})
		if err := root.Execute(); err != nil {
			b.Fatal(err)
		}
	}
}
