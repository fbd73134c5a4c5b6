package layer

import (
	"archive/tar"
	"fmt"
	"strings"

	"github.com/go-composefs/composefs/tree"
)

// checker takes entries and forgets them.
type checker struct {
	left int // entries that may still come
}

func (c *checker) add(h *tar.Header) (*tree.Inode, error) {
	if c.left--; c.left < 0 {
		return nil, errTooMany
	}
	if err := checkLengths(h); err != nil {
		return nil, err
	}
	if !hasContent(h) {
		return nil, nil //nolint:nilnil // nobody wants to know more
	}
	return &tree.Inode{Mode: tree.TypeRegular, Size: uint64(h.Size)}, nil
}

// checkLengths refuses names that no file can have.
func checkLengths(h *tar.Header) error {
	if n := max(len(h.Name), len(h.Linkname)); n > maxPath {
		return fmt.Errorf("%w: a name of %d bytes, at most %d are possible", ErrEntry, n, maxPath)
	}
	return nil
}

// hasContent says whether an entry is a regular file.
func hasContent(h *tar.Header) bool {
	return h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeCont || h.Typeflag == tar.TypeGNUSparse
}

// isOldDirectory says whether an entry is a directory as tars older than POSIX have them, and tar(1)
// reads them.
func isOldDirectory(h *tar.Header) bool {
	return h.Typeflag == tar.TypeReg && h.Size == 0 && strings.HasSuffix(h.Name, "/")
}
