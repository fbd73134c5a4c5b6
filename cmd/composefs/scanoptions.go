package main

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/tree"
)

// scanOptions say what of a directory goes into an image.
type scanOptions struct {
	tree.ScanOptions
	clamp     string
	noLinks   bool
	inlineMax int
}

// The options that make no sense where there is only an image, and those that need a directory.
var (
	scanFlagNames      = append([]string{"mtime-clamp", "epoch", "skip-xattrs", "user-xattrs", "skip-devices"}, directoryFlagNames...)
	directoryFlagNames = []string{"exclude", "no-hardlinks", "inline-max"}
)

// flags defines the options.
func (s *scanOptions) flags(cmd *cobra.Command) {
	s.inlineMax = tree.DefaultInlineMax
	flags := cmd.Flags()
	flags.StringArrayVar(&s.Exclude, "exclude", nil, "leave out what matches `PATTERN`, as in .gitignore: *.o anywhere, /var/cache/ at the top, !keep.o after all; may be given several times")
	flags.StringVar(&s.clamp, "mtime-clamp", "", "lower later times to `TIME`: seconds since 1970, 2024-01-31 or 2024-01-31T12:00:00Z (default SOURCE_DATE_EPOCH)")
	flags.BoolVar(&s.UseEpoch, "epoch", false, "set all times to 1970")
	flags.BoolVar(&s.SkipXattrs, "skip-xattrs", false, "leave out all extended attributes")
	flags.BoolVar(&s.UserXattrs, "user-xattrs", false, "leave out extended attributes other than user.*")
	flags.BoolVar(&s.SkipDevices, "skip-devices", false, "leave out device nodes, whiteouts with them")
	flags.BoolVar(&s.noLinks, "no-hardlinks", false, "make each name of a hard-linked file a file of its own, as mkcomposefs does")
	flags.IntVar(&s.inlineMax, "inline-max", s.inlineMax, "keep files of up to this many `BYTES` in the image")
	jobsFlag(flags, &s.Jobs)
}

// check finds what contradicts itself, and puts the options of the scan together.
func (s *scanOptions) check() error {
	switch {
	case s.SkipXattrs && s.UserXattrs:
		return usagef("--skip-xattrs and --user-xattrs contradict each other")
	case s.inlineMax < 0 || s.inlineMax > tree.MaxInline:
		return usagef("--inline-max %d: want 0 to %d", s.inlineMax, tree.MaxInline)
	}
	s.Hardlinks = !s.noLinks
	if s.InlineMax = s.inlineMax; s.inlineMax == 0 {
		s.InlineMax = -1 // 0 is the default
	}
	clamp, origin := s.clamp, "--mtime-clamp"
	if clamp == "" {
		clamp, origin = os.Getenv("SOURCE_DATE_EPOCH"), "SOURCE_DATE_EPOCH"
	}
	if clamp != "" {
		t, err := parseTime(clamp)
		if err != nil {
			return usagef("%s %q: want seconds since 1970, 2024-01-31 or 2024-01-31T12:00:00Z", origin, clamp)
		}
		s.MtimeClamp = &t
	}
	return nil
}

// apply does to a tree that was not scanned what a scan would have done, but for directoryFlagNames.
func (s *scanOptions) apply(root *tree.Inode) {
	for _, e := range tree.Walk(root) {
		n := e.Inode
		switch {
		case s.UseEpoch:
			n.Mtime = tree.Timespec{}
		case s.MtimeClamp != nil && n.Mtime.Compare(*s.MtimeClamp) > 0:
			n.Mtime = *s.MtimeClamp
		}
		if s.SkipXattrs || s.UserXattrs {
			n.Xattrs = slices.DeleteFunc(n.Xattrs, func(x tree.Xattr) bool {
				return s.SkipXattrs || !strings.HasPrefix(x.Name, "user.")
			})
		}
		if s.SkipDevices && n.IsDir() {
			n.Children = slices.DeleteFunc(n.Children, func(e tree.Entry) bool { return e.Inode.IsDevice() })
		}
	}
}

func parseTime(s string) (tree.Timespec, error) {
	if sec, err := strconv.ParseInt(s, 10, 64); err == nil {
		return tree.Timespec{Sec: sec}, nil
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		t, err = time.Parse(time.RFC3339Nano, s)
	}
	return tree.Timespec{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}, err
}
