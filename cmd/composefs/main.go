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
)

func main() {
	os.Exit(run())
}

// run is main without the exit, for tests that call the program by its names.
func run() int {
	tuneMemory()
	// A second signal ends the program at once: NotifyContext is undone after the first.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop)

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
