package tree

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/linux"
)

// file makes one file that is not a directory.
func (x *extractor) file(ctx context.Context, w *extractWorker, d *dirNode, e *Entry) error {
	n := e.Inode
	var err error
	switch n.Type() {
	case TypeRegular:
		err = x.regular(ctx, w, d, e)
	case TypeSymlink:
		if err = unix.Symlinkat(n.Target, d.fd, e.Name); err == nil {
			err = x.special(d, e)
		}
	case TypeBlock, TypeChar, TypeFIFO, TypeSocket:
		if err = unix.Mknodat(d.fd, e.Name, n.Type()|0o600, int(n.Rdev)); err == nil {
			err = x.special(d, e)
		}
	default:
		err = fmt.Errorf("%w: unknown type of file in mode %o", ErrTree, n.Mode)
	}
	if err != nil {
		return x.failed("extract", d, e.Name, err)
	}
	if x.opts.Progress != nil {
		var size int64
		if n.IsRegular() {
			size = int64(n.Size)
		}
		x.opts.Progress.Add(1, size)
	}
	return nil
}

// regular makes a regular file. One whose content cannot be completed is taken away again.
func (x *extractor) regular(ctx context.Context, w *extractWorker, d *dirNode, e *Entry) error {
	fd, err := linux.OpenAt(d.fd, e.Name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	err = x.content(ctx, w, fd, e.Inode)
	if err == nil {
		err = x.metadata(fd, false, d.fd, e.Name, e.Inode)
	}
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = unix.Unlinkat(d.fd, e.Name, 0) // the first error is the one to tell
	}
	return err
}

// special gives metadata to a file that cannot be opened to do so.
func (x *extractor) special(d *dirNode, e *Entry) error {
	fd, err := linux.OpenPath(d.fd, e.Name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return x.metadata(fd, true, d.fd, e.Name, e.Inode)
}

// metadata sets what a tree tells of an inode on the file that fd refers to, and that dirfd has
// under the name. The owner comes first, because a change of it takes away set-id bits and
// capabilities; permissions come last, because they may shut us out.
func (x *extractor) metadata(fd int, byPath bool, dirfd int, name string, n *Inode) error {
	mode := n.Perm()
	if x.opts.NoOwner {
		mode &^= 0o6000
	} else if err := linux.Chown(fd, n.UID, n.GID); err != nil {
		return fmt.Errorf("set owner %d:%d: %w", n.UID, n.GID, err)
	}
	if err := linux.SetMtime(dirfd, name, n.Mtime.Sec, n.Mtime.Nsec); err != nil {
		return fmt.Errorf("set time %d.%09d: %w", n.Mtime.Sec, n.Mtime.Nsec, err)
	}
	for _, xattr := range n.Xattrs {
		if x.opts.SkipXattrs || x.opts.UserXattrs && !strings.HasPrefix(xattr.Name, "user.") {
			continue
		}
		if err := linux.SetXattr(fd, byPath, xattr.Name, []byte(xattr.Value)); err != nil {
			return fmt.Errorf("set attribute %q: %w", xattr.Name, err)
		}
	}
	if n.IsSymlink() {
		return nil
	}
	if err := linux.Chmod(fd, byPath, mode); err != nil {
		return fmt.Errorf("set permissions %o: %w", mode, err)
	}
	return nil
}
