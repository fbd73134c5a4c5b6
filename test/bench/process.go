//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// A sample is what one run of a contestant took.
type sample struct {
	wall time.Duration
	cpu  time.Duration // user and system
	rss  int64         // greatest resident set in bytes, at least the harness's own
}

// A contestant is a way to do the work of a row: commands that run one after the other.
type contestant struct {
	name     string
	prepare  func() error // before each run, not measured; may be nil
	after    func() error // after each run, not measured; may be nil
	commands []command
	beside   func(context.Context) error // while the commands run, until its context ends; may be nil
}

type command struct {
	argv   []string
	stdout string // file that receives standard output; empty to discard it
}

// A result is what all runs of a contestant took.
type result struct {
	work    string
	name    string
	samples []sample
	floor   int64 // the harness's own memory, below which it cannot see
}

// race lets the contestants take turns, n counted rounds after one that is not.
func (b *bench) race(work string, n int, contestants ...contestant) ([]result, error) {
	fmt.Printf("%s ...", work)
	if b.quick {
		n = min(n, 3)
	}
	results := make([]result, len(contestants))
	for i, c := range contestants {
		results[i] = result{work: work, name: c.name}
	}
	for round := range n + 1 {
		for i, c := range contestants {
			s, err := c.run()
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", work, c.name, err)
			}
			if round > 0 {
				results[i].samples = append(results[i].samples, s)
			}
		}
	}
	for i := range results {
		r := &results[i]
		r.floor = memoryFloor()
		fmt.Printf(" %s %s", r.name, formatDuration(r.median()))
	}
	fmt.Println()
	b.runs = append(b.runs, results...)
	return results, nil
}

func (c contestant) run() (sample, error) {
	if c.prepare != nil {
		if err := c.prepare(); err != nil {
			return sample{}, err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var beside errgroup.Group
	if c.beside != nil {
		beside.Go(func() error { return c.beside(ctx) })
	}
	total, err := c.runCommands()
	cancel()
	err = errors.Join(err, beside.Wait())
	if err == nil && c.after != nil {
		err = c.after()
	}
	return total, err
}

func (c contestant) runCommands() (sample, error) {
	var total sample
	for _, cmd := range c.commands {
		s, err := cmd.run()
		if err != nil {
			return sample{}, err
		}
		total.wall += s.wall
		total.cpu += s.cpu
		total.rss = max(total.rss, s.rss)
	}
	return total, nil
}

func (c command) run() (sample, error) {
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if c.stdout != "" {
		out, err := os.Create(c.stdout)
		if err != nil {
			return sample{}, err
		}
		defer out.Close()
		cmd.Stdout = out
	}
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w: %s", strings.Join(c.argv, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return sample{}, fmt.Errorf("%s: no resource usage", c.argv[0])
	}
	return sample{
		wall: wall,
		cpu:  cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(),
		rss:  int64(usage.Maxrss) * 1024, //nolint:unconvert // it has 32 bits elsewhere
	}, nil
}

// peer returns the command line of a program that scripts/peers.sh fetched, without the shell
// that its wrapper starts first, which would count against it.
func (b *bench) peer(program string, args ...string) ([]string, error) {
	wrapper := filepath.Join(b.peers, "bin", program)
	text, err := os.ReadFile(wrapper)
	if err != nil {
		return nil, fmt.Errorf("the peers are not there (make peers): %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "exec "); ok {
			argv := strings.Fields(strings.TrimSuffix(strings.TrimSpace(rest), `"$@"`))
			return append(argv, args...), nil
		}
	}
	return nil, fmt.Errorf("%s is not a wrapper that peers.sh wrote", wrapper)
}

// ours returns the command line of a program of this project.
func (b *bench) ours(program string, args ...string) []string {
	return append([]string{filepath.Join(b.bin, program)}, args...)
}

// sorted returns one measure of all samples in order.
func sorted[T int64 | time.Duration](r result, measure func(sample) T) []T {
	all := make([]T, 0, len(r.samples))
	for _, s := range r.samples {
		all = append(all, measure(s))
	}
	slices.Sort(all)
	return all
}

func median[T int64 | time.Duration](s []T) T {
	mid := len(s) / 2
	if len(s)%2 == 1 {
		return s[mid]
	}
	return (s[mid-1] + s[mid]) / 2
}

func wall(s sample) time.Duration { return s.wall }
func cpu(s sample) time.Duration  { return s.cpu }
func rss(s sample) int64          { return s.rss }

func (r result) median() time.Duration    { return median(sorted(r, wall)) }
func (r result) medianRSS() int64         { return median(sorted(r, rss)) }
func (r result) medianCPU() time.Duration { return median(sorted(r, cpu)) }

// ratio is how much of the other's median time r took.
func (r result) ratio(other result) float64 {
	return float64(r.median()) / float64(other.median())
}
