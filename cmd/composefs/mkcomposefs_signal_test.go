package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// program returns the command of a personality as a process of its own.
func program(t *testing.T, argv ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Args = argv
	cmd.WaitDelay = time.Minute
	return cmd
}

func TestInterruptLeavesNothing(t *testing.T) {
	interruptLeavesNothing(t, 1)
}

// TestInterruptThatComesTwiceLeavesNothing is about timeout(1), and terminals and programs that both send it.
func TestInterruptThatComesTwiceLeavesNothing(t *testing.T) {
	interruptLeavesNothing(t, 100)
}

func interruptLeavesNothing(t *testing.T, times int) {
	t.Chdir(t.TempDir())
	cmd := program(t, "mkcomposefs", "--from-file", "-", "image")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// More than a pipe holds: when all is written, the program reads, and goes on reading.
	line := "/ 0 40755 1 0 0 0 0.0 - - -\n"
	if _, err := io.WriteString(stdin, line+strings.Repeat(" ", 1<<20)); err != nil {
		t.Fatal(err)
	}
	for range times {
		if err := cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		if times > 1 {
			time.Sleep(100 * time.Microsecond) // or they are one
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != exitFailed {
		t.Errorf("the program ended with %v, %q", err, stderr.String())
	}
	if !strings.Contains(stderr.String(), "mkcomposefs: interrupt") {
		t.Errorf("stderr is %q", stderr.String())
	}
	entries, err := os.ReadDir(".")
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
