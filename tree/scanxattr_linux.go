package tree

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/linux"
)

const (
	// The kernel allocates as much as it is offered, so first offer little.
	xattrOffer = 512
	xattrMost  = 64 << 10 // XATTR_LIST_MAX and XATTR_SIZE_MAX of include/uapi/linux/limits.h

	internLength = 128  // bytes of the longest value that is worth remembering
	internMost   = 4096 // values; then the memory starts anew
)

// xattrReader reads attributes for one goroutine. Names and short values are remembered, so
// that a label that all files have is in memory once.
type xattrReader struct {
	names, value []byte
	known        map[string]string
}

// readXattrs sets the attributes of n, whose descriptor fd is; byPath says that it is a mere
// reference.
func (s *scanner) readXattrs(w *scanWorker, n *Inode, fd int, byPath bool) error {
	if s.opts.SkipXattrs {
		return nil
	}
	xattrs, err := w.xattrs.read(fd, byPath, s.opts.UserXattrs)
	if err != nil {
		return err
	}
	n.Xattrs = xattrs
	if cost := n.XattrCost(); cost > MaxXattrCost {
		return fmt.Errorf("%w: they need %d bytes, %d are possible", ErrXattrs, cost, MaxXattrCost)
	}
	return nil
}

func (r *xattrReader) read(fd int, byPath, userOnly bool) ([]Xattr, error) {
	list, err := grow(&r.names, func(buf []byte) (int, error) { return linux.ListXattr(fd, byPath, buf) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // the filesystem has none
	}
	if err != nil || len(list) == 0 {
		return nil, err
	}
	xattrs := make([]Xattr, 0, bytes.Count(list, []byte{0}))
	for len(list) > 0 {
		var raw []byte
		raw, list, _ = bytes.Cut(list, []byte{0})
		if len(raw) == 0 || userOnly && !bytes.HasPrefix(raw, []byte("user.")) {
			continue
		}
		name := r.intern(raw)
		value, err := grow(&r.value, func(buf []byte) (int, error) { return linux.GetXattr(fd, byPath, name, buf) })
		if errors.Is(err, unix.ENODATA) {
			return nil, fmt.Errorf("%w: attribute %q is gone", ErrChanged, name)
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		xattrs = append(xattrs, Xattr{name, r.intern(value)})
	}
	slices.SortFunc(xattrs, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return xattrs, nil
}

// grow calls a function that fills a buffer, with a larger one if the first was too small.
func grow(buf *[]byte, fill func([]byte) (int, error)) ([]byte, error) {
	if *buf == nil {
		*buf = make([]byte, xattrOffer, xattrMost)
	}
	n, err := fill((*buf)[:xattrOffer])
	if errors.Is(err, unix.ERANGE) {
		n, err = fill((*buf)[:xattrMost])
	}
	return (*buf)[:n], err
}

func (r *xattrReader) intern(b []byte) string {
	if len(b) > internLength {
		return string(b)
	}
	if s, ok := r.known[string(b)]; ok {
		return s
	}
	if r.known == nil || len(r.known) == internMost {
		r.known = map[string]string{}
	}
	s := string(b)
	r.known[s] = s
	return s
}
