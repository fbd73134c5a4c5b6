package linux

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// MountInfo is one line of /proc/PID/mountinfo, see proc_pid_mountinfo(5), its octal escapes
// undone.
type MountInfo struct {
	ID         uint64 // number of the mount; reused after it is gone
	Device     string // major:minor
	Root       string // path in the filesystem that is the mount's root
	MountPoint string
	Options    []string // of this mount: ro, nosuid, …
	FSType     string
	Source     string
	// SuperOptions are those of the filesystem, each with its own escapes undone, so that
	// a comma within a value is not a separator.
	SuperOptions []string
}

// ReadMountInfo lists the mounts that the calling thread sees, in the order of mounting.
func ReadMountInfo() ([]MountInfo, error) {
	text, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	return ParseMountInfo(string(text))
}

// ParseMountInfo takes the text of a mountinfo file apart.
func ParseMountInfo(text string) ([]MountInfo, error) {
	var mounts []MountInfo
	for line := range strings.Lines(text) {
		m, err := parseMountInfoLine(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("mountinfo line %d: %w", len(mounts)+1, err)
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

// parseMountInfoLine reads
//
//	36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//
// where the number of tags before the hyphen varies.
func parseMountInfoLine(line string) (MountInfo, error) {
	before, after, ok := strings.Cut(line, " - ")
	fields, rest := strings.Split(before, " "), strings.SplitN(after, " ", 3)
	if !ok || len(fields) < 6 || len(rest) < 3 {
		return MountInfo{}, errors.New("not the fields of a mount")
	}
	id, err := strconv.ParseUint(fields[0], 10, 64)
	if err != nil {
		return MountInfo{}, fmt.Errorf("mount number: %w", err)
	}
	m := MountInfo{
		ID:         id,
		Device:     fields[2],
		Root:       unescapeOctal(fields[3]),
		MountPoint: unescapeOctal(fields[4]),
		Options:    strings.Split(fields[5], ","),
		FSType:     unescapeOctal(rest[0]),
		Source:     unescapeOctal(rest[1]),
	}
	for option := range strings.SplitSeq(rest[2], ",") {
		m.SuperOptions = append(m.SuperOptions, unescapeOctal(option))
	}
	return m, nil
}

// unescapeOctal undoes seq_escape of fs/seq_file.c: \ooo stands for a byte.
func unescapeOctal(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if b, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out = append(out, byte(b))
				i += 3
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}
