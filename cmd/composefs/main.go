// Command composefs makes, inspects and mounts composefs images.
//
// Called by the names mkcomposefs, composefs-info or mount.composefs it behaves as those
// programs of the C project do.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// signalEcho is for how long signals are one.
const signalEcho = time.Second

func main() {
	os.Exit(run())
}

// run is main without the exit, for tests that call the program by its names.
func run() int {
	tuneMemory()
	std := streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	ctx := context.Background()
	if !leavesNothing(os.Args) {
		var stop context.CancelFunc
		// A further signal ends the program at once, but for the echo of the first: timeout(1) sends each to the
		// program and to its group.
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		context.AfterFunc(ctx, func() { time.AfterFunc(signalEcho, stop) })
	}
	switch filepath.Base(os.Args[0]) {
	case "mkcomposefs":
		return mkcomposefs(ctx, std, os.Args)
	case "composefs-info":
		return composefsInfo(ctx, std, os.Args)
	case "mount.composefs":
		return mountComposefs(ctx, std, os.Args)
	}
	return composefs(ctx, std, os.Args[1:])
}

// leavesNothing says whether a command line is of a command that has nothing to clean up when it is ended: then the
// kernel may end it, and no signals are handled, which takes threads, a tenth of the time of a short command.
func leavesNothing(args []string) bool {
	if filepath.Base(args[0]) != "composefs" || len(args) < 2 {
		return false
	}
	switch args[1] {
	case "version", "--version", "umount":
		return true
	}
	return false
}

// streams are the standard streams, replaceable in tests.
type streams struct {
	in  *os.File
	out *os.File
	err *os.File
}
