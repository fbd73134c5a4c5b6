package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/go-composefs/composefs/dumpfile"
	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/tree"
)

// run makes the image that the command line asks for.
func (m *mkcomposefsCommand) run(ctx context.Context) int {
	if err := m.build(ctx); err != nil {
		if ctx.Err() != nil {
			return m.fail("%v", context.Cause(ctx))
		}
		return m.fail("%v", err)
	}
	return exitOK
}

// build returns errors with the C program's text, for fail to print.
func (m *mkcomposefsCommand) build(ctx context.Context) error {
	format, known := m.format()
	if !known {
		return fmt.Errorf("cannot write file: %s (format versions are 0 and 1)", cText(syscall.EINVAL))
	}
	var out imageOutput = stream{io.Discard}
	if !m.digestOnly {
		var err error
		out, err = openImageOutput(m.image, m.out)
		switch {
		case errors.Is(err, errTerminal):
			return err
		case err != nil:
			return fmt.Errorf("failed to open output file: %s", strerror(err))
		}
	}
	defer out.Abort()

	var root *tree.Inode
	var err error
	if m.fromDump {
		root, err = m.readDump(ctx)
	} else {
		root, err = m.readDirectory(ctx, out)
	}
	if err != nil {
		return err
	}
	result, err := writeImage(ctx, out, root, erofs.WriteOptions{Format: format})
	if err != nil {
		return fmt.Errorf("cannot write file: %s", writeError(err))
	}
	if err := out.Commit(); err != nil {
		return fmt.Errorf("close output file: %s", strerror(err))
	}
	if m.printDigest {
		if _, err := fmt.Fprintln(m.out, result.Digest); err != nil {
			return fmt.Errorf("print digest: %s", strerror(err))
		}
	}
	return nil
}

// writeError is what the C program says about a tree that cannot be written, and the reason.
func writeError(err error) string {
	if errors.Is(err, erofs.ErrLimit) {
		return fmt.Sprintf("%s (%v)", cText(syscall.EFBIG), err)
	}
	return strerror(err)
}

// readDump reads the tree from a dump.
func (m *mkcomposefsCommand) readDump(ctx context.Context) (*tree.Inode, error) {
	in, name := m.in, "standard input"
	if m.source != "-" {
		name = m.source
		var err error
		if in, err = os.Open(m.source); err != nil {
			return nil, fmt.Errorf("open `%s`: %s", m.source, strerror(withoutPath(err)))
		}
		defer in.Close()
	}
	// The C program's switch for its tests; any value will do.
	_, strict := os.LookupEnv("CFS_PARSE_STRICT")
	root, err := orInterrupted(ctx, func() (*tree.Inode, error) {
		return dumpfile.Read(in, dumpfile.ReadOptions{Name: name, Strict: strict})
	})
	if err != nil && !errors.Is(err, dumpfile.ErrSyntax) {
		err = fmt.Errorf("Error reading from file: %s", strerror(err))
	}
	return root, err
}
