package repository

import (
	"fmt"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
)

// refsDir is where each kind keeps its refs. No image or stream can have this name.
const refsDir = "refs"

// maxName bounds a name in bytes. Links lead from each ref up to where it began, so the kernel's
// limit of paths would come soon after.
const maxName = 1024

// CheckRef returns nil for what can be a ref: components separated by slashes, none of which is
// empty, ".", ".." or longer than 255 bytes, and without control characters. What looks like a
// digest is the name of an image, not of a ref.
func CheckRef(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if _, err := fsverity.ParseDigest(name); err == nil {
		return fmt.Errorf("%w %q: it is a digest", ErrName, name)
	}
	if first, _, _ := strings.Cut(name, "/"); first == refsDir {
		return fmt.Errorf("%w %q: it begins with %s", ErrName, name, refsDir)
	}
	return nil
}

// checkName is CheckRef without what it knows of images.
func checkName(name string) error {
	if name == "" {
		return fmt.Errorf("%w: it is empty", ErrName)
	}
	if len(name) > maxName {
		return fmt.Errorf("%w %.32q…: %d bytes, %d are allowed", ErrName, name, len(name), maxName)
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == "." || part == "..":
			return fmt.Errorf("%w %q: it has a component %q", ErrName, name, part)
		case len(part) > 255:
			return fmt.Errorf("%w %q: a component has more than 255 bytes", ErrName, name)
		}
	}
	if i := strings.IndexFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }); i >= 0 {
		return fmt.Errorf("%w %q: it has a control character", ErrName, name)
	}
	return nil
}

// CheckStream returns nil for what can be the id of a stream: a ref without slashes.
func CheckStream(id string) error {
	if err := checkName(id); err != nil {
		return err
	}
	if strings.Contains(id, "/") || id == refsDir {
		return fmt.Errorf("%w %q of a stream", ErrName, id)
	}
	return nil
}
