package main

import (
	"os"
	"strings"
	"testing"
)

const infoUsageText = "usage: composefs-info [--basedir=path] [ls|objects|dump|missing-objects|measure-file] IMAGES...\n"

// The texts are those that composefs 1.0.8 prints, but that it prints "Def" on stdout besides
// for a bad option.
func TestInfoCommandLines(t *testing.T) {
	inSampleDirectory(t)
	const def = "it prints Def on stdout"
	checkCommandLines(t, "composefs-info", []commandLine{
		{args: "", exit: 1, says: "No command specified\n" + infoUsageText},
		{args: "--", exit: 1, says: "No command specified\n"},
		{args: "foo", exit: 1, says: "composefs-info: Unknown command 'foo'\n"},
		{args: "foo good.img", exit: 1, says: "composefs-info: Unknown command 'foo'\n"},
		{args: "--basedir=nonexistent foo", exit: 1, says: "composefs-info: Unknown command 'foo'\n"},
		{args: "ls", exit: 1, says: "No image path specified\n" + infoUsageText},
		{args: "objects", exit: 1, says: "No image path specified\n"},
		{args: "--basedir=nonexistent ls", exit: 1, says: "composefs-info: Can't open basedir `nonexistent`"},
		{args: "--basedir= ls", exit: 1, says: "composefs-info: Can't open basedir ``"},
		{args: "--basedir=good.img ls good.img", exit: 1, says: "Not a directory"},
		{args: "--filter=a/b ls good.img", exit: 1, says: "composefs-info: Filter must be a single name: a/b"},
		{args: "measure-file", exit: 1, says: "No files specified\n" + infoUsageText},
		{args: "--basedir=nonexistent measure-file", exit: 1, says: "No files specified\n"},
		{args: "-x", exit: 1, says: "composefs-info: invalid option -- 'x'\n" + infoUsageText, differs: def},
		{args: "--filter", exit: 1, says: "composefs-info: option '--filter' requires an argument\n", differs: def},
		{args: "--bogus=3 ls", exit: 1, says: "composefs-info: unrecognized option '--bogus=3'\n", differs: def},
		{args: "--help", differs: "it has no --help"},

		{args: "ls nonexistent", exit: 1, says: "composefs-info: Failed to open 'nonexistent': No such file or directory\n"},
		{args: "ls good.img nonexistent good.img", exit: 1, says: "composefs-info: Failed to open 'nonexistent': No such file or directory\n"},
		{args: "objects good.img nonexistent", exit: 1, says: "composefs-info: Failed to open 'nonexistent': No such file or directory\n"},
		{args: "ls /dev/null", exit: 1, says: "composefs-info: Failed to load '/dev/null': Invalid argument"},
		{args: "ls empty", exit: 1, says: "composefs-info: Failed to load 'empty': Invalid argument"},
		{args: "dump d/large", exit: 1, says: "composefs-info: Failed to load 'd/large': Invalid argument"},
		{args: "dump d", exit: 1, says: "composefs-info: Failed to load 'd': "},

		{args: "ls good.img"},
		{args: "ls good.img good.img"},
		{args: "dump good.img"},
		{args: "objects good.img good.img"},
		{args: "missing-objects good.img"},
		{args: "--basedir=store missing-objects good.img"},
		{args: "--base=store miss good.img", exit: 1, says: "Unknown command 'miss'"},
		{args: "missing-objects good.img --basedir store"},
		{args: "--filter=sub ls good.img"},
		{args: "--filter=sub --filter=symlink dump good.img"},
		{args: "--fil=link dump good.img"},
		{args: "--filter=link objects good.img"},
		{args: "--filter= ls good.img"},
		{args: "--filter=nonexistent dump good.img"},
		{args: "--filter=.. dump good.img"},
		{args: "measure-file good.img d/small d/large"},
		{args: "--filter=x --basedir=nonexistent measure-file good.img"},
		{args: "measure-file d/small nonexistent", exit: 1, says: "composefs-info: Failed to open 'nonexistent': No such file or directory\n"},
		{args: "measure-file d/small d", exit: 1, says: "failed to measure 'd': "},
	})
}

func TestMissingObjectsDoesNotLookInStdin(t *testing.T) {
	inSampleDirectory(t)
	store, err := os.Open("store")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	out, err := os.Create("list")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	std := streams{in: store, out: out, err: null}
	if exit := composefsInfo(t.Context(), std, []string{"composefs-info", "missing-objects", "good.img"}); exit != 0 {
		t.Fatalf("exit %d", exit)
	}
	if got := contents(t, out); !strings.Contains(got, "aa/bb\n") {
		t.Errorf("an object in the directory that stdin is counts as there: %q", got)
	}
}

func TestFullDiskIsAnError(t *testing.T) {
	inSampleDirectory(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	for _, argv := range [][]string{
		{"composefs-info", "ls", "good.img"},
		{"composefs-info", "dump", "good.img"},
		{"composefs-info", "objects", "good.img"},
		{"composefs-info", "measure-file", "good.img"},
	} {
		stderr, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		exit := composefsInfo(t.Context(), streams{in: os.Stdin, out: full, err: stderr}, argv)
		if got := contents(t, stderr); exit != 1 || !strings.Contains(strings.ToLower(got), "no space left on device") {
			t.Errorf("%v: exit %d, %q", argv, exit, got)
		}
		stderr.Close()
	}
}

// Defects of the C program's reader, numbered in its history: what it prints differs from what
// is in the image.
func TestInfoReadsWhatTheCProgramGarbles(t *testing.T) {
	t.Chdir(t.TempDir())
	deep := "/ 0 40755 1 0 0 0 0.0 - - -\n"
	path := ""
	for range 3000 {
		path += "/d"
		deep += path + " 0 40755 1 0 0 0 0.0 - - -\n"
	}
	for _, c := range []struct{ name, dump, command, want string }{
		{
			"a backing path whose length is 3 modulo 4",
			"/ 0 40755 1 0 0 0 0.0 - - -\n/f 5 100644 1 0 0 0 0.0 abc - -\n",
			"objects", "abc\n",
		},
		{
			"an attribute with empty name and value",
			"/ 0 40755 1 0 0 0 0.0 - - -\n/f 0 100644 1 0 0 0 0.0 - - - user.=\n",
			"dump", "/ 4096 40755 2 0 0 0 0.0 - - -\n/f 0 100644 1 0 0 0 0.0 - - - user.=\n",
		},
		{
			"three thousand nested directories", deep,
			"objects", "",
		},
	} {
		if o := ours(t, c.dump, "mkcomposefs", "--from-file", "-", "img"); o.exit != 0 {
			t.Errorf("%s: %s", c.name, o.stderr)
			continue
		}
		if o := ours(t, "", "composefs-info", c.command, "img"); o.exit != 0 || o.out != c.want {
			t.Errorf("%s: exit %d, %q, %q, want %q", c.name, o.exit, o.out, o.stderr, c.want)
		}
	}
}
