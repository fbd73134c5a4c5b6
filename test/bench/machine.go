//go:build linux

package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pin binds the calling thread to the first n CPUs that it may use, and names them.
func pin(n int) (string, error) {
	var allowed, chosen unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return "", fmt.Errorf("read the CPU affinity: %w", err)
	}
	var names []string
	for cpu := 0; len(names) < n; cpu++ {
		if cpu >= 8*len(allowed)*8 {
			return "", fmt.Errorf("cannot run on %d CPUs: only %d may be used", n, len(names))
		}
		if allowed.IsSet(cpu) {
			chosen.Set(cpu)
			names = append(names, fmt.Sprint(cpu))
		}
	}
	if err := unix.SchedSetaffinity(0, &chosen); err != nil {
		return "", fmt.Errorf("set the CPU affinity: %w", err)
	}
	return strings.Join(names, ", "), nil
}

// describe says in Markdown on what and when the figures were taken.
func describe(dir, peers, cpus string) (string, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	versions, err := os.ReadFile(filepath.Join(peers, "versions"))
	if err != nil {
		return "", fmt.Errorf("the peers are not there (make peers): %w", err)
	}
	filesystem, err := filesystemOf(dir)
	if err != nil {
		return "", err
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "", err
	}
	var s strings.Builder
	fmt.Fprintf(&s, "Taken %s on %s, %d CPUs of which CPU %s were used, %s of memory, Linux %s, %s, %s, load before the run %s.\n",
		time.Now().Format(time.DateOnly),
		field("/proc/cpuinfo", "model name"), runtime.NumCPU(), cpus, field("/proc/meminfo", "MemTotal"),
		unix.ByteSliceToString(uts.Release[:]), filesystem, runtime.Version(), strings.Fields(string(load))[0])
	fmt.Fprintf(&s, "Peer: Debian's %s.\n", strings.Join(strings.Split(strings.TrimSpace(string(versions)), "\n"), ", "))
	return s.String(), nil
}

// field returns the first value of that name in a file of "name : value" lines.
func field(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// filesystemOf returns the type of the filesystem that dir is on.
func filesystemOf(dir string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	device := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	for line := range strings.Lines(string(mounts)) {
		before, after, ok := strings.Cut(line, " - ")
		if fields := strings.Fields(before); ok && len(fields) > 2 && fields[2] == device {
			return strings.Fields(after)[0], nil
		}
	}
	return "an unknown filesystem", nil
}

// memoryFloor is the harness's own greatest resident set: the kernel lets a child's figure begin
// with that of the process that started it, so smaller ones cannot be told apart.
func memoryFloor() int64 {
	var kib int64
	if _, err := fmt.Sscanf(field("/proc/self/status", "VmHWM"), "%d kB", &kib); err != nil {
		return 0
	}
	return kib * 1024
}
