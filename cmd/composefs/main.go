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
	// A further signal ends the program at once, but for the echo of the first: timeout(1) sends each to the
	// program and to its group.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, func() { time.AfterFunc(signalEcho, stop) })

	std := streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}
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

// streams are the standard streams, replaceable in tests.
type streams struct {
	in  *os.File
	out *os.File
	err *os.File
}
