package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/go-composefs/composefs/internal/getopt"
)

// personality is a program of the C project that this one stands in for: the name it was
// called by and its streams. Its exit codes are exitOK and exitFailed.
//
// Messages keep the C programs' text, because scripts look for it, and put in parentheses
// behind it what that lacks: the file, the line, the reason.
type personality struct {
	streams
	argv0 string
}

// name is what messages start with.
func (p personality) name() string { return filepath.Base(p.argv0) }

// fail prints a message behind the program's name.
func (p personality) fail(format string, args ...any) int {
	fmt.Fprintf(p.err, "%s: %s\n", p.name(), oneLine(fmt.Sprintf(format, args...)))
	return exitFailed
}

// strerror is what the C library says about the system call's error in err, followed by err
// itself in parentheses, since that names the file. Other errors say all by themselves.
func strerror(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	text := cText(errno)
	if err.Error() == errno.Error() {
		return text
	}
	return fmt.Sprintf("%s (%v)", text, err)
}

// withoutPath takes the path off an error of package os, for messages that have it already.
func withoutPath(err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

// cText is strerror(3) in the C locale. Go has the same texts, in lower case.
func cText(errno syscall.Errno) string {
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// isOption says whether err, from a getopt.Parser, is of that kind.
func isOption(err error, problem getopt.Problem) bool {
	var e *getopt.Error
	return errors.As(err, &e) && e.Problem == problem
}

// orInterrupted returns what work returns, but waits no longer than ctx lasts: work may be in a
// read that nothing ends, such as that of a terminal. The caller must then leave alone what
// work uses.
func orInterrupted[T any](ctx context.Context, work func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := work()
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
