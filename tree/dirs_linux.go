package tree

import (
	"container/list"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/linux"
)

// A dirNode is a directory of the filesystem that is read or written.
type dirNode struct {
	parent *dirNode
	entry  *Entry // its name below parent, and its inode; nil on top
	id     FileID // set when the directory is opened for the first time, by whoever works on it

	// The following belong to the dirCache's mutex.
	fd    int           // -1 while closed
	users int           // who may use fd now
	idle  *list.Element // its place among the unused ones
}

// path returns the path of a name in d; of d itself, if the name is empty. top is the path of
// the topmost directory.
func (d *dirNode) path(top, name string) string {
	names := []string{name}
	if name == "" {
		names = nil
	}
	for ; d.parent != nil; d = d.parent {
		names = append(names, d.entry.Name)
	}
	if len(names) == 0 {
		return top
	}
	names = append(names, strings.TrimRight(top, "/"))
	slices.Reverse(names)
	return strings.Join(names, "/")
}

// parts returns the names on the way from the topmost directory to d.
func (d *dirNode) parts() []string {
	var names []string
	for ; d.parent != nil; d = d.parent {
		names = append(names, d.entry.Name)
	}
	slices.Reverse(names)
	return names
}

// maxIdle bounds the descriptors of directories that nobody uses at the moment. A tree may be
// deeper than a process may have files open.
const maxIdle = 100

// A dirCache opens directories by way of their parents, one component at a time, never through
// a symlink. What is not used stays open for a while, and is opened again when it is needed:
// then it must still be the same directory.
type dirCache struct {
	top  string // path of the topmost directory, for errors
	mu   sync.Mutex
	idle list.List // of *dirNode, the longest unused first
}

// newDirCache returns a cache and the node of the directory on top, which the cache holds
// open by a descriptor of its own until closeAll.
func newDirCache(top *os.File) (*dirCache, *dirNode, error) {
	fd, err := linux.OpenDir(int(top.Fd()), ".")
	runtime.KeepAlive(top)
	if err != nil {
		return nil, nil, &fs.PathError{Op: "open", Path: top.Name(), Err: err}
	}
	root := &dirNode{fd: fd}
	c := &dirCache{top: top.Name()}
	c.use(root)
	return c, root, nil
}

// acquire makes d.fd valid until d is released.
func (c *dirCache) acquire(d *dirNode) error {
	c.mu.Lock()
	var closed []*dirNode
	at := d
	for ; at.fd < 0; at = at.parent {
		closed = append(closed, at)
	}
	c.use(at)
	c.mu.Unlock()
	for _, dir := range slices.Backward(closed) {
		fd, err := openDirNode(at.fd, dir)
		c.mu.Lock()
		if err == nil {
			if dir.fd < 0 {
				dir.fd = fd
			} else {
				_ = unix.Close(fd) // another goroutine was faster
			}
			c.use(dir)
		}
		c.unuse(at)
		c.mu.Unlock()
		if err != nil {
			return &fs.PathError{Op: "open", Path: dir.path(c.top, ""), Err: err}
		}
		at = dir
	}
	return nil
}

func (c *dirCache) release(d *dirNode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unuse(d)
}

func (c *dirCache) use(d *dirNode) {
	if d.users == 0 && d.idle != nil {
		c.idle.Remove(d.idle)
		d.idle = nil
	}
	d.users++
}

func (c *dirCache) unuse(d *dirNode) {
	if d.users--; d.users > 0 {
		return
	}
	d.idle = c.idle.PushBack(d)
	if c.idle.Len() > maxIdle {
		c.closeOldest()
	}
}

func (c *dirCache) closeOldest() {
	d, _ := c.idle.Remove(c.idle.Front()).(*dirNode)
	_ = unix.Close(d.fd) // nothing was written through it
	d.fd, d.idle = -1, nil
}

// closeAll ends the cache, when all directories but the one on top are released.
func (c *dirCache) closeAll(root *dirNode) {
	c.release(root)
	for c.idle.Len() > 0 {
		c.closeOldest()
	}
}

// openDirNode opens a directory below its open parent. If it was open before it must not be
// another one now.
func openDirNode(parent int, d *dirNode) (int, error) {
	fd, err := linux.OpenDir(parent, d.entry.Name)
	if err != nil {
		return -1, changedIfGone(err)
	}
	if d.id == (FileID{}) {
		return fd, nil
	}
	var st unix.Statx_t
	if err = linux.Stat(fd, &st); err == nil && idOf(&st) != d.id {
		err = fmt.Errorf("%w: it is another directory now", ErrChanged)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// changedIfGone adds [ErrChanged] to errors that only happen if a name that was just listed
// means something else now.
func changedIfGone(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	return err
}

func idOf(st *unix.Statx_t) FileID {
	return FileID{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino}
}
