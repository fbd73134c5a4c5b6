//go:build linux

package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// deviceMeter counts what is written to the disk below a directory. It counts for everybody: what the system says of
// a process counts data that were never written, because their file went before.
type deviceMeter struct {
	dir    string
	before int64
	counts []int64 // bytes of each time
}

func newDeviceMeter(dir string) *deviceMeter { return &deviceMeter{dir: dir} }

// start begins to count. Everything that waited to be written has been.
func (m *deviceMeter) start() error {
	var err error
	m.before, err = m.read()
	return err
}

// stop ends counting, when all is written.
func (m *deviceMeter) stop() error {
	if err := syncFilesystem(m.dir); err != nil {
		return err
	}
	now, err := m.read()
	m.counts = append(m.counts, now-m.before)
	return err
}

func (m *deviceMeter) last() int64 { return m.counts[len(m.counts)-1] }

func (m *deviceMeter) median() int64 {
	all := slices.Clone(m.counts)
	slices.Sort(all)
	return median(all)
}

// read returns how many bytes have been written to the device, from the field "write sectors" of its statistics
// (Documentation/block/stat.rst), whose sectors have 512 bytes.
func (m *deviceMeter) read() (int64, error) {
	var st unix.Stat_t
	if err := unix.Stat(m.dir, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: m.dir, Err: err}
	}
	path := fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(st.Dev), unix.Minor(st.Dev))
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data))
	if len(fields) < 7 {
		return 0, fmt.Errorf("%s has %d fields", path, len(fields))
	}
	sectors, err := strconv.ParseInt(fields[6], 10, 64)
	return sectors * 512, err
}
