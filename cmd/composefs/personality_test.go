package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/internal/testenv"
)

// outcome is what a program leaves behind.
type outcome struct {
	exit        int
	out, stderr string
}

// ours runs a personality in this process.
func ours(t testing.TB, stdin string, argv ...string) outcome {
	t.Helper()
	var std streams
	for _, f := range []**os.File{&std.in, &std.out, &std.err} {
		var err error
		if *f, err = os.CreateTemp(t.TempDir(), "stream"); err != nil {
			t.Fatal(err)
		}
		defer (*f).Close()
	}
	if _, err := std.in.WriteAt([]byte(stdin), 0); err != nil {
		t.Fatal(err)
	}
	programs := map[string]func(context.Context, streams, []string) int{
		"mkcomposefs": mkcomposefs, "composefs-info": composefsInfo, "mount.composefs": mountComposefs,
	}
	exit := programs[argv[0]](t.Context(), std, argv)
	return outcome{exit, contents(t, std.out), contents(t, std.err)}
}

func contents(t testing.TB, f *os.File) string {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// peer runs a program of the C project.
func peer(t testing.TB, stdin string, argv ...string) outcome {
	t.Helper()
	cmd := exec.Command(testenv.Peer(t, argv[0]), argv[1:]...)
	var out, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), stderr.String()}
}

// commandLine is one that both programs are to understand alike.
type commandLine struct {
	args  string // separated by blanks; '' is an empty argument
	stdin string
	exit  int
	says  string // part of stderr
	// differs says why the C program does something else.
	differs string
}

func (c commandLine) argv(program string) []string {
	argv := []string{program}
	for _, arg := range strings.Fields(c.args) {
		if arg == "''" {
			arg = ""
		}
		argv = append(argv, arg)
	}
	return argv
}

// check runs command lines through our program and compares the outcome with what is recorded,
// and with that of the C program.
func checkCommandLines(t *testing.T, program string, lines []commandLine) {
	t.Helper()
	recorded := func(t *testing.T, c commandLine, o outcome) {
		t.Helper()
		if o.exit != c.exit || !strings.Contains(o.stderr, c.says) || c.says == "" && o.stderr != "" {
			t.Errorf("exit %d and %q on stderr, want exit %d and %q", o.exit, o.stderr, c.exit, c.says)
		}
	}
	for _, c := range lines {
		t.Run(c.args, func(t *testing.T) {
			got := ours(t, c.stdin, c.argv(program)...)
			recorded(t, c, got)
			if c.differs != "" {
				return
			}
			want := peer(t, c.stdin, c.argv(program)...)
			recorded(t, c, want)
			if got.out != want.out {
				t.Errorf("stdout is %q, the C program's %q", got.out, want.out)
			}
		})
	}
}

// inSampleDirectory changes to a directory with files that command lines name.
func inSampleDirectory(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	write := func(name, data string) {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("d/small", "hello\n")
	write("d/large", strings.Repeat("large file\n", 100))
	write("d/sub/file", strings.Repeat("x", 65))
	if err := os.Symlink("small", "d/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("d", "link-to-d"); err != nil {
		t.Fatal(err)
	}
	write("good.dump", sampleDump)
	write("bad.dump", "/ 0 40755 1 0 0 0 0.0 - - -\n/x/y 0 100644 1 0 0 0 0.0 - - -\n")
	write("gid.dump", "/ 0 40755 1 0 zero 0 0.0 - - -\n")
	write("big.dump", "/ 0 40755 1 0 0 0 0.0 - - -\n/big 9500000000000000 100644 1 0 0 0 0.0 x - -\n")
	write("empty", "")
	write("store/aa/bb", "object")
	if o := ours(t, sampleDump, "mkcomposefs", "--from-file", "-", "good.img"); o.exit != 0 {
		t.Fatal(o.stderr)
	}
}

const sampleDigest = "cd1f0b3ed2a8d1b1f5b4cd0c4ec0b4c4d7a8ae9b3e2f0a1c8d7e6f5a4b3c2d1e"

// sampleDump has every type of file, names that need escapes, and hard links whose first name
// in the order of the walk is not the one that the dump gives the file.
const sampleDump = `/ 4096 40755 2 0 0 0 1700000000.0 - - - security.selinux=system_u:object_r:root_t:s0\x00
/a\x20b 5 100644 2 1 2 0 1.5 - hi\x20=\n -
/link 0 @100644 1 0 0 0 0.0 /sub/zz - -
/back\\slash\x0a\xff 0 100644 1 0 0 0 0.0 - - -
/blk 0 60640 1 0 6 2049 1700000000.0 - - -
/chr 0 20666 1 0 0 259 1700000000.0 - - -
/fifo 0 10644 1 0 0 0 1700000000.0 - - -
/object 100 100644 1 0 0 0 1700000000.0 aa/bb - - user.a=b\x3dc trusted.overlay.x=y
/slash 200 100644 1 0 0 0 1700000000.0 /cc/dd - -
/sock 0 140755 1 0 0 0 1700000000.0 - - -
/sub 4096 40700 2 70000 0 0 -5.999 - - -
/sub/zz 300 100755 2 0 0 0 1700000000.0 cd/1f0b3ed2a8d1b1f5b4cd0c4ec0b4c4d7a8ae9b3e2f0a1c8d7e6f5a4b3c2d1e - ` + sampleDigest + `
/symlink 6 120777 1 0 0 0 1700000000.0 to\x20=x - -
/whiteout 0 20000 1 0 0 0 1700000000.0 - - -
`
