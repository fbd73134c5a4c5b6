package main

import (
	"os"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/erofs"
)

// The texts are those that composefs 1.0.8 prints.
func TestMkcomposefsCommandLines(t *testing.T) {
	inSampleDirectory(t)
	const usage = "Usage: mkcomposefs [OPTIONS] SOURCE IMAGE\nOptions:\n"
	const writing = "mkcomposefs: cannot write file: "
	checkCommandLines(t, "mkcomposefs", []commandLine{
		{args: "", exit: 1, says: "No source path specified\n" + usage},
		{args: "''", exit: 1, says: "mkcomposefs: Empty source path specified\n"},
		{args: "'' '' ''", exit: 1, says: "mkcomposefs: Empty source path specified\n"},
		{args: "d a b", exit: 1, says: "Too many arguments\n" + usage},
		{args: "d", exit: 1, says: "No destination path specified\n" + usage},
		{args: "--print-digest d", exit: 1, says: "No destination path specified\n"},
		{args: "--print-digest-only d x", exit: 1, says: "Cannot specify destination path with --print-digest-only\n" + usage},
		{args: "--print-digest-only d x y", exit: 1, says: "Too many arguments\n"},

		{args: "--bogus d out", exit: 1, says: usage},
		{args: "-x d out", exit: 1, says: usage},
		{args: "-C d out", exit: 1, says: usage},
		{args: "--use-epoch=1 d out", exit: 1, says: usage},
		{args: "--print-dig d out", exit: 1, says: usage},
		{args: "--digest-store", exit: 1, says: "option needs a value"},
		{args: "d out --threads", exit: 1, says: "option needs a value"},
		{args: "--bogus --threads=x", exit: 1, says: usage},
		{args: "--threads=x --bogus", exit: 1, says: "Invalid threads count x\n"},
		{args: "--threads=0 d out", exit: 1, says: "Invalid threads count 0\n"},
		{args: "--threads=-1 d out", exit: 1, says: "Invalid threads count -1\n"},
		{args: "--threads=1x d out", exit: 1, says: "Invalid threads count 1x\n"},
		{args: "--threads= d out", exit: 1, says: "Invalid threads count \n"},
		{args: "--min-version=x d out", exit: 1, says: "Invalid min version x\n"},
		{args: "--min-version= d out", exit: 1, says: "Invalid min version \n"},
		{args: "--min-version=0x1 d out", exit: 1, says: "Invalid min version 0x1\n"},
		{args: "--max-version=1. d out", exit: 1, says: "Invalid max version 1.\n"},
		{args: "--min-version=2 --from-file good.dump out", exit: 1, says: writing + "Invalid argument"},
		{args: "--max-version=-1 --from-file good.dump out", exit: 1, says: writing + "Invalid argument"},
		{args: "--max-version=99999999999999999999 --from-file good.dump out", exit: 1, says: writing + "Invalid argument"},
		{args: "--help", differs: "it has no --help"},

		{args: "--print-digest-only --from-file good.dump"},
		{args: "--from-file --print-digest-only -- good.dump"},
		{args: "--from-file --print-digest-only -", stdin: sampleDump},
		{args: "--from-file --print-digest - -", stdin: sampleDump},
		{args: "--from-file - -", stdin: sampleDump},
		{args: "good.dump --print-digest --from out"},
		{args: "--print-digest --from-file good.dump out"},
		{args: "--print-digest --from-file good.dump /dev/null"},
		{args: "--print-digest-only --min-version=0 --from-file good.dump"},
		{args: "--print-digest-only --min-version=1 --from-file good.dump"},
		{args: "--print-digest-only --min-version=+1 --from-file good.dump"},
		{args: "--print-digest-only --max-version=0 --from-file good.dump"},
		{args: "--print-digest-only --max-version 1 --from-file good.dump"},
		{args: "--print-digest-only --min-version=1 --max-version=0 --from-file good.dump"},
		{args: "--print-digest-only --mi=4294967297 --from-file good.dump"},
		{args: "--print-digest-only --mi=-4294967296 --from-file good.dump"},
		{args: "--print-digest-only --threads=4294967297 --from-file good.dump"},
		{args: "--print-digest-only --digest-store=/dev/null/x --use-epoch --skip-devices --skip-xattrs --user-xattrs --from-file good.dump"},

		{args: "--print-digest-only d"},
		{args: "--print-digest-only link-to-d/"},
		{args: "--print-digest-only --threads=1 d"},
		{args: "--print-digest-only --threads=2147483647 d", differs: "it starts them all"},
		{args: "--print-digest d -"},
		{args: "--print-digest --use-epoch --skip-devices --skip-xattrs --threads=2 d out"},
		{args: "--print-digest --user-xattrs --digest-store= d out"},
		{args: "link-to-d out", exit: 1, says: writing + "Not a directory"},
		{args: "d/small out", exit: 1, says: writing + "Not a directory"},
		{args: "/dev/null out", exit: 1, says: writing + "Not a directory"},
		{args: "d/small/x out", exit: 1, says: "mkcomposefs: error accessing d/small/x: Not a directory"},
		{args: "nonexistent out", exit: 1, says: "mkcomposefs: error accessing nonexistent: No such file or directory\n"},
		{args: "--skip-xattrs --user-xattrs d out", exit: 1, says: "mkcomposefs: error accessing d: Invalid argument"},
		{args: "--digest-store=/dev/null/x d out", exit: 1, says: "mkcomposefs: cannot fill store: Not a directory"},

		{args: "--from-file nonexistent out", exit: 1, says: "mkcomposefs: open `nonexistent`: No such file or directory\n"},
		{args: "--from-file d out", exit: 1, says: "mkcomposefs: Error reading from file"},
		{args: "--from-file empty out", exit: 1, says: "No files in dump file"},
		{args: "--from-file - out", exit: 1, says: "No files in dump file"},
		{args: "--from-file bad.dump out", exit: 1, says: "Parent directory missing for /x"},
		{args: "--from-file gid.dump out", exit: 1, says: "Invalid integer zero"},
		{args: "--from-file big.dump out", exit: 1, says: "File too large"},
		{args: "--from-file nonexistent nonexistent/out", exit: 1, says: "mkcomposefs: failed to open output file: No such file or directory"},
		{args: "--from-file good.dump ''", exit: 1, says: "mkcomposefs: failed to open output file: No such file or directory"},
		{args: "--from-file good.dump /dev/full", exit: 1, says: writing + "No space left on device"},
	})
}

func TestErrorsNameTheFileAndTheLine(t *testing.T) {
	inSampleDirectory(t)
	for _, c := range []commandLine{
		{args: "--from-file bad.dump out", says: "mkcomposefs: bad.dump:2: path: "},
		{args: "--from-file - out", stdin: "/\n", says: "mkcomposefs: standard input:1: "},
		{args: "--from-file big.dump out", says: "mkcomposefs: big.dump:2: size: "},
		{args: "--from-file good.dump /dev/full", says: "/dev/full"},
		{args: "--from-file good.dump nonexistent/out", says: "nonexistent"},
	} {
		o := ours(t, c.stdin, c.argv("mkcomposefs")...)
		if !strings.Contains(o.stderr, c.says) || o.exit != 1 {
			t.Errorf("%s: exit %d and %q, want 1 and %q", c.args, o.exit, o.stderr, c.says)
		}
	}
}

func TestFailureLeavesTheOldImageAndNothingElse(t *testing.T) {
	inSampleDirectory(t)
	if err := os.Mkdir("out", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("out/image", []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"--from-file bad.dump out/image",
		"--from-file big.dump out/image",
		"--from-file nonexistent out/image",
		"--from-file bad.dump out/new",
		"--min-version=7 --from-file good.dump out/image",
	} {
		if o := ours(t, "", commandLine{args: args}.argv("mkcomposefs")...); o.exit != 1 {
			t.Errorf("%s: exit %d", args, o.exit)
		}
	}
	if got, err := os.ReadFile("out/image"); err != nil || string(got) != "old" {
		t.Errorf("the old image holds %q, %v", got, err)
	}
	if entries, err := os.ReadDir("out"); err != nil || len(entries) != 1 {
		t.Errorf("out holds %v, %v", entries, err)
	}
}

func TestVersionsToFormat(t *testing.T) {
	for _, c := range []struct {
		args  string
		want  erofs.Format
		known bool
	}{
		{"", erofs.FormatAuto, true},
		{"--min-version=0", erofs.FormatV0, true},
		{"--min-version=1", erofs.FormatV1, true},
		{"--max-version=0", erofs.FormatV0, true},
		{"--max-version=1", erofs.FormatAuto, true},
		{"--min-version=0 --max-version=1", erofs.FormatAuto, true},
		{"--min-version=1 --max-version=0", erofs.FormatV1, true},
		{"--min-version=1 --min-version=0", erofs.FormatV0, true},
		{"--min-version=2", 0, false},
		{"--max-version=2", 0, false},
		{"--min-version=-1", 0, false},
		{"--min-version=4294967296", erofs.FormatV0, true},
	} {
		var m mkcomposefsCommand
		argv := commandLine{args: c.args + " source image"}.argv("mkcomposefs")
		if exit, done := m.parse(argv[1:]); done {
			t.Errorf("%s: exit %d", c.args, exit)
			continue
		}
		if got, known := m.format(); got != c.want || known != c.known {
			t.Errorf("%s: format %v, %v, want %v, %v", c.args, got, known, c.want, c.known)
		}
	}
}

func TestTerminalGetsNoImage(t *testing.T) {
	inSampleDirectory(t)
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer terminal.Close()
	stderr, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	std := streams{in: os.Stdin, out: terminal, err: stderr}
	exit := mkcomposefs(t.Context(), std, []string{"mkcomposefs", "--from-file", "good.dump", "-"})
	if got := contents(t, stderr); exit != 1 || got != "mkcomposefs: stdout is a tty.  Refusing to use it\n" {
		t.Errorf("exit %d, %q", exit, got)
	}
}
