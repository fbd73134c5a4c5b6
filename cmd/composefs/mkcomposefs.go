package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/internal/getopt"
)

// mkcomposefs behaves as the program of that name of the C project, except where
// docs/compat.md says so.
func mkcomposefs(ctx context.Context, std streams, args []string) int {
	m := mkcomposefsCommand{personality: personality{std, args[0]}}
	if exit, done := m.parse(args[1:]); done {
		return exit
	}
	return m.run(ctx)
}

// mkcomposefsCommand is one command line of mkcomposefs.
type mkcomposefsCommand struct {
	personality

	source      string // directory or dump
	image       string // where the image goes; empty with digestOnly
	digestStore string // object directory, if hasStore
	hasStore    bool

	fromDump    bool
	useEpoch    bool
	skipDevices bool
	skipXattrs  bool
	userXattrs  bool
	printDigest bool
	digestOnly  bool
	threads     int

	minVersion, maxVersion uint32
}

var mkcomposefsOptions = []getopt.Option{
	{Name: "digest-store", Value: true},
	{Name: "use-epoch"},
	{Name: "skip-devices"},
	{Name: "skip-xattrs"},
	{Name: "user-xattrs"},
	{Name: "print-digest"},
	{Name: "print-digest-only"},
	{Name: "from-file"},
	{Name: "min-version", Value: true},
	{Name: "max-version", Value: true},
	{Name: "threads", Value: true},
	{Name: "help"},
}

const mkcomposefsUsage = `Usage: %s [OPTIONS] SOURCE IMAGE
Options:
  --digest-store=PATH   Copy file contents to objects in this directory
  --use-epoch           Set all modification times to 0
  --skip-devices        Leave out device nodes
  --skip-xattrs         Leave out all extended attributes
  --user-xattrs         Leave out extended attributes other than user.*
  --print-digest        Print the fs-verity digest of the image
  --print-digest-only   Print the digest and write no image
  --from-file           SOURCE is a dump, not a directory; - is standard input
  --min-version=N       Lowest format version to write (default=0)
  --max-version=N       Highest format version to write (default=1)
  --threads=N           Threads that read and store files (default=%d)
  --help                Print this text
`

// parse reads the command line. done says that the program ends with exit, having printed why.
//
// What is complained about first when several things are wrong is the C program's order.
func (m *mkcomposefsCommand) parse(args []string) (exit int, done bool) {
	m.threads = runtime.NumCPU()
	m.maxVersion = 1
	versions := map[string]uint32{}

	line := getopt.New(args, mkcomposefsOptions)
	for opt, err := range line.Options() {
		switch {
		case isOption(err, getopt.MissingValue):
			fmt.Fprintf(m.err, "option needs a value (%v)\n", err)
			return exitFailed, true
		case err != nil:
			return m.usage(m.name() + ": " + err.Error())
		}
		switch opt.Name {
		case "digest-store":
			m.digestStore, m.hasStore = opt.Value, true
		case "use-epoch":
			m.useEpoch = true
		case "skip-devices":
			m.skipDevices = true
		case "skip-xattrs":
			m.skipXattrs = true
		case "user-xattrs":
			m.userXattrs = true
		case "print-digest":
			m.printDigest = true
		case "print-digest-only":
			m.printDigest, m.digestOnly = true, true
		case "from-file":
			m.fromDump = true
		case "min-version", "max-version":
			n, ok := strtol(opt.Value)
			if !ok {
				fmt.Fprintf(m.err, "Invalid %s version %s\n", opt.Name[:3], opt.Value)
				return exitFailed, true
			}
			versions[opt.Name] = uint32(n)
		case "threads":
			n, ok := strtol(opt.Value)
			if m.threads = int(int32(n)); !ok || m.threads <= 0 {
				fmt.Fprintf(m.err, "Invalid threads count %s\n", opt.Value)
				return exitFailed, true
			}
		case "help":
			fmt.Fprintf(m.out, mkcomposefsUsage, m.name(), runtime.NumCPU())
			return exitOK, true
		}
	}
	// One of them given makes the other's default 0, and the maximum is at least the minimum.
	if len(versions) > 0 {
		m.minVersion = versions["min-version"]
		m.maxVersion = max(versions["max-version"], m.minVersion)
	}
	return m.arguments(line.Args())
}

// arguments takes what is no option.
func (m *mkcomposefsCommand) arguments(args []string) (exit int, done bool) {
	switch {
	case len(args) == 0:
		return m.usage("No source path specified")
	case args[0] == "":
		return m.fail("Empty source path specified"), true
	case len(args) > 2:
		return m.usage("Too many arguments")
	case len(args) == 1 && !m.digestOnly:
		return m.usage("No destination path specified")
	case len(args) == 2 && m.digestOnly:
		return m.usage("Cannot specify destination path with --print-digest-only")
	}
	m.source = args[0]
	if !m.digestOnly {
		m.image = args[1]
	}
	return exitOK, false
}

// usage prints what is wrong with the command line and how one looks.
func (m *mkcomposefsCommand) usage(message string) (exit int, done bool) {
	fmt.Fprintln(m.err, message)
	fmt.Fprintf(m.err, mkcomposefsUsage, m.name(), runtime.NumCPU())
	return exitFailed, true
}

// format is what the versions ask for; known is false if no format is meant.
func (m *mkcomposefsCommand) format() (f erofs.Format, known bool) {
	switch {
	case m.maxVersion > 1:
		return 0, false
	case m.minVersion == 1:
		return erofs.FormatV1, true
	case m.maxVersion == 1:
		return erofs.FormatAuto, true
	}
	return erofs.FormatV0, true
}

// strtol reads a decimal number as strtol(3) does, where nothing may stand behind it: blanks
// and a sign may precede it, and what is out of range is the nearest number in range.
func strtol(s string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimLeft(s, " \t\n\v\f\r"), 10, 64)
	return n, err == nil || errors.Is(err, strconv.ErrRange)
}
