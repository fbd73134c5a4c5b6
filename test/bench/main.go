//go:build linux

// Command bench measures this implementation against the C one on the same inputs in the same
// run, and writes what it found as a table.
//
// # Method
//
// All contestants of a row take turns, A B A B, after one round that does not count, so that what
// disturbs the machine disturbs all alike; medians and their ratios are given, with the least and
// greatest value. Programs run as whole processes on two CPUs. Memory is the greatest resident
// set of the process as wait4 reports it, CPU time is user plus system. Every row compares what
// the contestants wrote, byte for byte, and fails if it differs: a fast wrong answer has no row.
//
// Inputs are generated from fixed seeds: dumps shaped like an operating system's, and a tree of
// files with log-normal sizes of which some share their content.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"time"
)

// bench is one run of the harness.
type bench struct {
	peers string // directory that scripts/peers.sh filled
	bin   string // directory with composefs and its other names
	dir   string // inputs and outputs
	quick bool
	rows  *regexp.Regexp // names of those to run

	aside int // how many directories were set aside
	runs  []result
	bars  []bar
}

func main() {
	b := bench{}
	var doc, part, hashDir, compressDir, rows string
	var cpus int
	flag.StringVar(&b.peers, "peers", "build/peers", "`directory` of the peers, see scripts/peers.sh")
	flag.StringVar(&b.bin, "bin", "bin", "`directory` of our programs")
	flag.StringVar(&b.dir, "dir", "build/bench", "`directory` for inputs and outputs, about 45 GB on a disk's filesystem")
	flag.StringVar(&doc, "doc", "", "Markdown `file` in which the table of -part is replaced")
	flag.StringVar(&part, "part", "", "which `rows` to run: images, repository or containers; all if it is empty")
	flag.IntVar(&cpus, "cpus", 2, "`number` of CPUs to run on")
	flag.BoolVar(&b.quick, "quick", false, "small inputs and few runs: compares outputs, measures nothing worth noting")
	flag.StringVar(&rows, "rows", "", "`pattern` of rows to run: start, mount, read, dump, million, full, fresh, import, scrub, collect, container")
	flag.StringVar(&hashDir, "hash-alone", "", "only read and hash the files of a `directory` (the harness calls itself so)")
	flag.StringVar(&compressDir, "compress-alone", "", "only compress the layers of an image in a `repository` (the harness calls itself so)")
	flag.Parse()

	var err error
	if pattern, ok := parts[part]; ok {
		rows = pattern
	} else if part != "" {
		err = fmt.Errorf("unknown part %q", part)
	}
	if err == nil {
		b.rows, err = regexp.Compile(rows)
	}
	switch {
	case err != nil:
	case flag.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case doc != "" && (b.quick || part == ""):
		err = errors.New("a document gets all rows of a -part, in full: no -quick and no -rows with -doc")
	case hashDir != "":
		err = hashAlone(hashDir)
	case compressDir != "":
		err = compressAlone(compressDir)
	default:
		err = b.main(doc, part, cpus)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// parts are the rows of each table of the document.
var parts = map[string]string{
	"images":     "^(start|mount|read|dump|million|full|fresh)$",
	"repository": "^(import|scrub|collect)$",
	"containers": "^container$",
}

func (b *bench) main(doc, part string, cpus int) error {
	for _, dir := range []*string{&b.peers, &b.bin, &b.dir} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*dir = abs
	}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	if err := b.removeAside(); err != nil { // of a run that was ended
		return err
	}
	// Children inherit the affinity of the thread that starts them, so this one starts them all.
	runtime.LockOSThread()
	where, err := pin(cpus)
	if err != nil {
		return err
	}
	machine, err := describe(b.dir, b.peers, where)
	if err != nil {
		return err
	}
	fmt.Print(machine, "\n")
	start := time.Now()
	for _, row := range []struct {
		name string
		run  func() error
	}{
		{"start", b.startUp},
		{"mount", b.mounts},
		{"read", b.dumpToImage},
		{"dump", b.imageToDump},
		{"million", b.millionEntries},
		{"full", b.fullStore},
		{"fresh", b.freshStore},
		{"import", b.imports},
		{"scrub", b.scrub},
		{"collect", b.collection},
		{"container", b.containers},
	} {
		if !b.rows.MatchString(row.name) {
			continue
		}
		if err := row.run(); err != nil {
			return err
		}
	}
	if b.quick {
		fmt.Println("\nall outputs agree")
		return nil
	}
	table := machine + "\n" + renderRuns(b.runs) + "\n" + renderBars(b.bars)
	fmt.Printf("\n%s\nall rows took %v\n", table, time.Since(start).Round(time.Second))
	if doc == "" {
		return nil
	}
	return replaceTable(doc, part, table)
}
