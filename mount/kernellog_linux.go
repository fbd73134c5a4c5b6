package mount

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelLog is a place in the kernel's log (/dev/kmsg): most of what overlayfs and EROFS have
// to say about a refused mount goes only there. A nil kernelLog, where the log cannot be read,
// has no messages.
type kernelLog struct {
	fd int
}

// openKernelLog remembers the end of the log.
func openKernelLog() *kernelLog {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		_ = unix.Close(fd)
		return nil
	}
	return &kernelLog{fd}
}

// kernelLogMax is how many messages one error carries at most: a mount says two or three.
const kernelLogMax = 5

const kernelLogWarning = 4 // KERN_WARNING of include/linux/kern_levels.h

// Messages returns what the filesystems logged since the last call. Another mount that fails
// at the same time can have its messages in between.
func (l *kernelLog) Messages() []string {
	if l == nil {
		return nil
	}
	var messages []string
	buf := make([]byte, 8192)
	for {
		n, err := unix.Read(l.fd, buf)
		// EPIPE: older records were overwritten before they could be read.
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EPIPE) {
			continue
		}
		if err != nil || n <= 0 {
			return messages
		}
		if m := kernelLogMessage(string(buf[:n])); m != "" && len(messages) < kernelLogMax {
			messages = append(messages, "kernel log: "+m)
		}
	}
}

// kernelLogMessage takes the message out of a record "4,339,5140900,-;text\n KEY=value\n" if
// it is a warning or worse of a filesystem or device that takes part in a mount.
func kernelLogMessage(record string) string {
	head, text, ok := strings.Cut(record, ";")
	if !ok {
		return ""
	}
	priority, _, _ := strings.Cut(head, ",")
	// Facility times eight, and the level.
	if level, err := strconv.Atoi(priority); err != nil || level%8 > kernelLogWarning {
		return ""
	}
	text, _, _ = strings.Cut(text, "\n")
	for _, prefix := range []string{"overlayfs: ", "erofs", "loop"} {
		if strings.HasPrefix(text, prefix) {
			return text
		}
	}
	return ""
}

// Close gives the log back.
func (l *kernelLog) Close() {
	if l != nil {
		_ = unix.Close(l.fd)
	}
}
