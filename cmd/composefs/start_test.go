package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// What the initialization of packages may allocate, in bytes. Every start of the program pays for it, whatever
// it is started for. Clocks depend on the machine, allocations hardly do.
const (
	maxInit    = 500_000 // of all packages
	maxOurInit = 4_000   // of one of ours
)

// initTrace is a line of GODEBUG=inittrace=1.
var initTrace = regexp.MustCompile(`(?m)^init (\S+) @.* clock, (\d+) bytes, (\d+) allocs$`)

func TestInitializationAllocatesLittle(t *testing.T) {
	program := filepath.Join(t.TempDir(), "composefs")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	run := exec.Command(program, "version")
	run.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace strings.Builder
	run.Stderr = &trace
	if err := run.Run(); err != nil {
		t.Fatal(err)
	}
	total, seen := 0, false
	for _, m := range initTrace.FindAllStringSubmatch(trace.String(), -1) {
		bytes, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		total += bytes
		ours := m[1] == "main" || strings.HasPrefix(m[1], "github.com/go-composefs/composefs/")
		if seen = seen || ours; ours && bytes > maxOurInit {
			t.Errorf("package %s allocates %d bytes before main, %d are allowed: do it when it is wanted (sync.OnceValue)", m[1], bytes, maxOurInit)
		}
	}
	if !seen {
		t.Fatalf("no package of ours in the trace:\n%s", trace.String())
	}
	if total > maxInit {
		t.Errorf("packages allocate %d bytes before main, %d are allowed:\n%s", total, maxInit, trace.String())
	}
}
