package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/internal/getopt"
	"github.com/go-composefs/composefs/tree"
)

// composefsInfo behaves as the program composefs-info of the C project, except where
// docs/compat.md says so.
func composefsInfo(ctx context.Context, std streams, args []string) int {
	i := infoCommand{personality: personality{std, args[0]}}
	work, exit := i.parse(args[1:])
	if work == nil {
		return exit
	}
	i.w = bufio.NewWriterSize(std.out, 64<<10)
	_, err := orInterrupted(ctx, func() (struct{}, error) {
		err := work()
		if flushErr := i.w.Flush(); err == nil {
			err = flushErr
		}
		return struct{}{}, err
	})
	if err != nil {
		return i.fail("%v", err)
	}
	return exitOK
}

// infoCommand is one command line of composefs-info.
type infoCommand struct {
	personality

	files   []string // images, or any files for measure-file
	basedir string   // object directory; empty if none was given
	filters []string // names in the root to which images are restricted; empty for all

	w *bufio.Writer // standard output
}

var infoOptions = []getopt.Option{
	{Name: "basedir", Value: true},
	{Name: "filter", Value: true},
	{Name: "help"},
}

const infoUsage = "usage: %s [--basedir=path] [ls|objects|dump|missing-objects|measure-file] IMAGES...\n"

// parse reads the command line and returns the work to do, or nil if the program ends with exit,
// having printed why.
func (i *infoCommand) parse(args []string) (work func() error, exit int) {
	var basedir *string
	line := getopt.New(args, infoOptions)
	for opt, err := range line.Options() {
		if err != nil {
			return nil, i.usage(i.argv0 + ": " + err.Error())
		}
		switch opt.Name {
		case "basedir":
			basedir = &opt.Value
		case "filter":
			if strings.Contains(opt.Value, "/") {
				return nil, i.fail("Filter must be a single name: %s", opt.Value)
			}
			i.filters = append(i.filters, opt.Value)
		case "help":
			fmt.Fprintf(i.out, infoUsage, i.argv0)
			return nil, exitOK
		}
	}
	args = line.Args()
	if len(args) == 0 {
		return nil, i.usage("No command specified")
	}
	noFiles := "No image path specified"
	switch args[0] {
	case "ls":
		work = i.list
	case "dump":
		work = i.dump
	case "objects":
		work = i.objects
	case "missing-objects":
		work = i.missingObjects
	case "measure-file":
		work, basedir, noFiles = i.measureFiles, nil, "No files specified"
	default:
		return nil, i.fail("Unknown command '%s'", args[0])
	}
	if basedir != nil {
		if err := isDirectory(*basedir); err != nil {
			return nil, i.fail("Can't open basedir `%s`: %s", *basedir, strerror(err))
		}
		i.basedir = *basedir
	}
	if i.files = args[1:]; len(i.files) == 0 {
		return nil, i.usage(noFiles)
	}
	return work, exitOK
}

// usage prints what is wrong with the command line and how one looks.
func (i *infoCommand) usage(message string) int {
	fmt.Fprintln(i.err, message)
	fmt.Fprintf(i.err, infoUsage, i.argv0)
	return exitFailed
}

func isDirectory(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	return withoutPath(err)
}

// load reads the tree of an image, or what the filters leave of it.
func (i *infoCommand) load(path string, opts erofs.TreeOptions) (*tree.Inode, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	opts.Only = i.filters
	root, err := loadTree(f, opts)
	if err != nil {
		return nil, fmt.Errorf("Failed to load '%s': %s", path, loadError(err)) //nolint:staticcheck // the C program's text
	}
	return root, nil
}

var errNoHeader = errors.New("an EROFS image, but not one of composefs")

func loadTree(f *os.File, opts erofs.TreeOptions) (*tree.Inode, error) {
	img, err := erofs.OpenFile(f)
	if err != nil {
		return nil, err
	}
	if !img.Composefs() {
		return nil, errNoHeader
	}
	return img.Tree(opts)
}

// loadError is what the C program says about an image, and the reason.
func loadError(err error) string {
	var text string
	switch {
	case errors.Is(err, erofs.ErrUnsupported):
		text = cText(syscall.EOPNOTSUPP)
	case errors.Is(err, erofs.ErrCorrupt), errors.Is(err, errNoHeader):
		text = cText(syscall.EINVAL)
	default:
		return strerror(err)
	}
	return fmt.Sprintf("%s (%v)", text, err)
}

// openFile opens a file that is named on the command line.
func openFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("Failed to open '%s': %s", path, strerror(withoutPath(err))) //nolint:staticcheck // the C program's text
	}
	return f, nil
}
