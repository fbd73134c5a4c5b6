package mount

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inPrivateNamespace marks the process that runs the tests.
const inPrivateNamespace = "COMPOSEFS_TEST_PRIVATE_NAMESPACE"

// TestMain runs the tests, if it is root, in a process with a mount namespace of its own, so
// that nothing that they mount is seen by the machine or left on it; and fails if they leave a
// mount or a loop device in there.
func TestMain(m *testing.M) {
	flag.Parse()
	fuzzing := flag.Lookup("test.fuzzworker").Value.String() == "true"
	switch {
	case os.Geteuid() != 0 || fuzzing:
		os.Exit(m.Run())
	case os.Getenv(inPrivateNamespace) == "":
		os.Exit(runInNamespace())
	}
	before := machineState()
	code := m.Run()
	if after, ok := settled(before); !ok {
		fmt.Fprintf(os.Stderr, "FAIL: mounts or loop devices are left:\n%s\nbefore the tests:\n%s\n", after, before)
		code = 1
	}
	os.Exit(code)
}

func runInNamespace() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inPrivateNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	signal.Ignore(os.Interrupt) // the child gets it too
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// machineState lists the mounts and those loop devices whose file is of this package's tests.
func machineState() string {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		panic(err)
	}
	state := string(mounts)
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, f := range files {
		if name, err := os.ReadFile(f); err == nil && strings.Contains(string(name), "/composefs-mount-test") {
			state += f + " " + string(name)
		}
	}
	return state
}

// settled waits, for the kernel to finish what it does behind a last close, until the machine
// is as before.
func settled(before string) (state string, ok bool) {
	deadline := time.After(5 * time.Second)
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		if state = machineState(); state == before {
			return state, true
		}
		select {
		case <-poll.C:
		case <-deadline:
			return state, false
		}
	}
}
