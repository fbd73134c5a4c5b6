package tree

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/linux"
)

// Extract writes a tree to the empty directory that dest is open for. The contents of external
// files come from objects: shared with the object where the filesystem can do that, else
// copied, where long runs of zeros become holes. Owners, permissions, attributes, times and
// hard links are as in the tree; what the directory itself had of them is replaced, but for
// attributes that the tree does not name.
//
// Nothing is written outside dest, whatever the tree has for names and targets and whatever
// others do meanwhile: each file is made new, in a directory that was made here and is open.
// Contents are compared with their digests; a file for which that fails is removed and the
// error wraps [ErrDigestMismatch].
//
// Errors name the file, by a path that begins with the name of dest; the first one ends the
// work. What was written until then stays, incomplete. Nothing is synced to disk.
func Extract(ctx context.Context, root *Inode, dest *os.File, objects Opener, opts ExtractOptions) error {
	if err := opts.defaults(); err != nil {
		return err
	}
	if err := checkTree(root); err != nil {
		return err
	}
	cache, top, err := newDirCache(dest)
	if err != nil {
		return err
	}
	defer cache.closeAll(top)
	top.entry = &Entry{Inode: root}
	x := &extractor{opts: opts, objects: objects, dirs: cache, linked: map[*Inode]place{}}
	for inode := range findLinked(root) {
		x.linked[inode] = place{}
	}
	if err := x.prepare(top); err != nil {
		return err
	}
	err = runCrew(ctx, opts.Jobs, func(c *crew[extractWorker]) task[extractWorker] {
		x.crew = c
		x.made = []*dirNode{top}
		return x.directory(top)
	})
	if err != nil {
		return err
	}
	for _, l := range x.links {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := x.link(l); err != nil {
			return err
		}
	}
	// A directory's times change with what it holds, and its permissions may shut us out.
	for _, d := range slices.Backward(x.made) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := x.finishDir(d); err != nil {
			return err
		}
	}
	return nil
}

type extractor struct {
	opts    ExtractOptions
	objects Opener
	dirs    *dirCache
	crew    *crew[extractWorker]
	noClone atomic.Bool // the filesystem cannot share data

	mu     sync.Mutex
	made   []*dirNode // parents before children
	linked map[*Inode]place
	links  []place // names to give once the files exist
}

// place is where a file is, or will be.
type place struct {
	dir   *dirNode // nil: nowhere yet
	entry *Entry
}

// extractWorker is what one goroutine has to itself.
type extractWorker struct {
	data [copyChunk]byte
}

// prepare makes sure that the directory is empty and that its files inherit nothing from it.
func (x *extractor) prepare(top *dirNode) error {
	buf := make([]byte, 4096)
	for _, err := range linux.ReadDir(top.fd, buf) {
		if err == nil {
			err = ErrNotEmpty
		}
		return x.failed("extract to", top, "", err)
	}
	for _, acl := range []string{"system.posix_acl_default", "system.posix_acl_access"} {
		err := unix.Fremovexattr(top.fd, acl)
		if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) {
			return x.failed("remove "+acl+" of", top, "", err)
		}
	}
	return nil
}

// directory returns the task of filling a directory.
func (x *extractor) directory(d *dirNode) task[extractWorker] {
	return func(ctx context.Context, w *extractWorker) error {
		if err := x.dirs.acquire(d); err != nil {
			return err
		}
		defer x.dirs.release(d)
		var st unix.Statx_t
		if err := linux.Stat(d.fd, &st); err != nil {
			return x.failed("stat", d, "", err)
		}
		d.id = idOf(&st)
		var dirs []task[extractWorker]
		var files []*Entry
		children := d.entry.Inode.Children
		for i := range children {
			e := &children[i]
			switch {
			case !e.Inode.IsDir():
				if x.mine(d, e) {
					files = append(files, e)
				}
				continue
			case ctx.Err() != nil:
				return ctx.Err()
			}
			if err := unix.Mkdirat(d.fd, e.Name, 0o700); err != nil {
				return x.failed("make directory", d, e.Name, err)
			}
			below := &dirNode{parent: d, entry: e, fd: -1}
			x.mu.Lock()
			x.made = append(x.made, below)
			x.mu.Unlock()
			dirs = append(dirs, x.directory(below))
		}
		slices.Reverse(dirs) // the newest task is the next
		x.crew.add(dirs...)
		for len(files) > batch {
			x.crew.add(x.files(d, files[:batch]))
			files = files[batch:]
		}
		return x.files(d, files)(ctx, w)
	}
}

// mine says whether a name is the one under which the file is made. Of several names that is
// the one met first; the others are given later.
func (x *extractor) mine(d *dirNode, e *Entry) bool {
	if x.opts.SkipDevices && e.Inode.IsDevice() {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	first, linked := x.linked[e.Inode]
	switch {
	case !linked:
		return true
	case first.dir == nil:
		x.linked[e.Inode] = place{d, e}
		return true
	}
	x.links = append(x.links, place{d, e})
	return false
}

// files returns the task of making some files of d.
func (x *extractor) files(d *dirNode, entries []*Entry) task[extractWorker] {
	return func(ctx context.Context, w *extractWorker) error {
		if err := x.dirs.acquire(d); err != nil {
			return err
		}
		defer x.dirs.release(d)
		for i, e := range entries {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := x.file(ctx, w, d, e); err != nil {
				return err
			}
			if e.Inode.IsRegular() && e.Inode.Size > smallFile && i+1 < len(entries) {
				// The rest is for whoever is free now.
				x.crew.add(x.files(d, entries[i+1:]))
				return nil
			}
		}
		return nil
	}
}

// link gives a file another name.
func (x *extractor) link(to place) error {
	from := x.linked[to.entry.Inode]
	for _, d := range []*dirNode{from.dir, to.dir} {
		if err := x.dirs.acquire(d); err != nil {
			return err
		}
		defer x.dirs.release(d)
	}
	err := unix.Linkat(from.dir.fd, from.entry.Name, to.dir.fd, to.entry.Name, 0)
	return x.failed("link", to.dir, to.entry.Name, err)
}

// finishDir gives a directory its metadata.
func (x *extractor) finishDir(d *dirNode) error {
	if err := x.dirs.acquire(d); err != nil {
		return err
	}
	defer x.dirs.release(d)
	if err := x.metadata(d.fd, false, d.fd, ".", d.entry.Inode); err != nil {
		return x.failed("finish", d, "", err)
	}
	if x.opts.Progress != nil {
		x.opts.Progress.Add(1, 0)
	}
	return nil
}

// failed names the file that an error is about.
func (x *extractor) failed(op string, d *dirNode, name string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &fs.PathError{Op: op, Path: d.path(x.dirs.top, name), Err: err}
}
