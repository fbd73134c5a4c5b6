package tree

import (
	"context"
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

// Scan reads the directory that dir is open for, and all below it, into a tree. Mount points
// are entered, symlinks are not followed.
//
// Everything is asked of descriptors that were opened one path component at a time, so no
// rename can lead the scan out of the directory or make it mix two files, and no device or
// FIFO is ever opened for more than reference. A file that changes while it is read, or is
// gone after it was listed, fails with [ErrChanged]. (A change that leaves size and times as
// they are is not seen: kernels before 6.13 keep time in steps of some milliseconds.)
//
// The result is the same for every number of jobs. Errors name the file, by a path that begins
// with the name of dir; the first one ends the scan.
func Scan(ctx context.Context, dir *os.File, opts ScanOptions) (*Inode, error) {
	if err := opts.defaults(); err != nil {
		return nil, err
	}
	excludes, err := parseExcludes(opts.Exclude)
	if err != nil {
		return nil, err
	}
	cache, top, err := newDirCache(dir)
	if err != nil {
		return nil, err
	}
	defer cache.closeAll(top)
	root := &Inode{}
	top.entry = &Entry{Inode: root}
	s := &scanner{opts: opts, excludes: excludes, dirs: cache}
	err = runCrew(ctx, opts.Jobs, func(c *crew[scanWorker]) task[scanWorker] {
		s.crew = c
		return s.directory(top)
	})
	if err != nil {
		return nil, err
	}
	for _, d := range s.holed {
		d.Children = slices.DeleteFunc(d.Children, func(e Entry) bool { return e.Inode == nil })
	}
	if len(s.seen) > 0 {
		SettleLinks(root)
		countNames(root)
	}
	return root, nil
}

// countNames sets the link counts of files to the numbers of their names.
func countNames(root *Inode) {
	for _, e := range Walk(root) {
		if e.Link {
			e.Inode.Nlink++
		}
	}
}

// FileIDOf tells which file is open.
func FileIDOf(f *os.File) (FileID, error) {
	var st unix.Statx_t
	err := linux.Stat(int(f.Fd()), &st)
	runtime.KeepAlive(f)
	if err != nil {
		return FileID{}, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return idOf(&st), nil
}

type scanner struct {
	opts     ScanOptions
	excludes []exclude
	dirs     *dirCache
	crew     *crew[scanWorker]

	mu    sync.Mutex
	holed []*Inode // directories that have entries without inode: skipped ones
	seen  map[FileID]linked
}

// linked is a file of several names that was met.
type linked struct {
	inode *Inode
	stat  fileState
}

// scanWorker is what one goroutine has to itself.
type scanWorker struct {
	stat    unix.Statx_t
	after   unix.Statx_t
	dirents [64 << 10]byte
	names   []byte
	data    [smallFile]byte
	xattrs  xattrReader
}

// batch is how many files other than directories make a task.
const batch = 64

// directory returns the task of reading a directory.
func (s *scanner) directory(d *dirNode) task[scanWorker] {
	return func(ctx context.Context, w *scanWorker) error {
		if err := s.dirs.acquire(d); err != nil {
			return err
		}
		defer s.dirs.release(d)
		if err := s.scanDir(ctx, w, d); err != nil {
			return err
		}
		if d.entry.Inode == nil {
			return nil // it is one of those to skip
		}
		var dirs []task[scanWorker]
		var files []*Entry
		children := d.entry.Inode.Children
		for i := range children {
			if e := &children[i]; e.Inode.IsDir() {
				dirs = append(dirs, s.directory(&dirNode{parent: d, entry: e, fd: -1}))
			} else {
				files = append(files, e)
			}
		}
		slices.Reverse(dirs) // the newest task is the next
		s.crew.add(dirs...)
		for len(files) > batch {
			s.crew.add(s.files(d, files[:batch]))
			files = files[batch:]
		}
		return s.files(d, files)(ctx, w)
	}
}

// files returns the task of reading some entries of d that are no directories.
func (s *scanner) files(d *dirNode, entries []*Entry) task[scanWorker] {
	return func(ctx context.Context, w *scanWorker) error {
		if err := s.dirs.acquire(d); err != nil {
			return err
		}
		defer s.dirs.release(d)
		for i, e := range entries {
			if err := ctx.Err(); err != nil {
				return err
			}
			large, err := s.scanFile(ctx, w, d, e)
			if err != nil {
				return err
			}
			if large && i+1 < len(entries) {
				// The rest is for whoever is free now.
				s.crew.add(s.files(d, entries[i+1:]))
				return nil
			}
		}
		return nil
	}
}

// scanDir reads the metadata and the names of a directory. Its children have only their types
// afterwards.
func (s *scanner) scanDir(ctx context.Context, w *scanWorker, d *dirNode) error {
	if err := linux.Stat(d.fd, &w.stat); err != nil {
		return s.failed("stat", d, "", err)
	}
	d.id = idOf(&w.stat)
	n := d.entry.Inode
	if slices.Contains(s.opts.Skip, d.id) && d.parent != nil {
		s.skip(d.parent, d.entry)
		return nil
	}
	s.metadata(n, &w.stat)
	n.Size = 0
	if err := s.readXattrs(w, n, d.fd, false); err != nil {
		return s.failed("read attributes of", d, "", err)
	}
	var err error
	if n.Children, err = s.list(w, d); err != nil {
		return s.failed("list", d, "", err)
	}
	if err := linux.Stat(d.fd, &w.after); err != nil {
		return s.failed("stat", d, "", err)
	}
	if stateOf(&w.stat) != stateOf(&w.after) {
		return s.failed("list", d, "", ErrChanged)
	}
	if s.opts.Progress != nil {
		s.opts.Progress.Add(1, 0)
	}
	return ctx.Err()
}

// list reads the names in a directory, sorted.
func (s *scanner) list(w *scanWorker, d *dirNode) ([]Entry, error) {
	type listed struct {
		end  int // of the name, in w.names
		kind uint32
	}
	var all []listed
	var path []string
	if len(s.excludes) > 0 {
		path = append(d.parts(), "")
	}
	w.names = w.names[:0]
	for e, err := range linux.ReadDir(d.fd, w.dirents[:]) {
		if err != nil {
			return nil, err
		}
		if e.Type == 0 {
			if e.Type, err = s.typeOf(w, d, string(e.Name)); err != nil {
				return nil, err
			}
		}
		if s.opts.SkipDevices && (e.Type == TypeBlock || e.Type == TypeChar) {
			continue
		}
		if path != nil {
			path[len(path)-1] = string(e.Name)
			if excluded(s.excludes, path, e.Type == TypeDir) {
				continue
			}
		}
		w.names = append(w.names, e.Name...)
		all = append(all, listed{len(w.names), e.Type})
	}
	names := string(w.names) // one piece of memory for all
	inodes := make([]Inode, len(all))
	entries := make([]Entry, len(all))
	start := 0
	for i, l := range all {
		inodes[i].Mode = l.kind
		entries[i] = Entry{Name: names[start:l.end], Inode: &inodes[i]}
		start = l.end
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// typeOf asks for what some filesystems do not tell in their directories.
func (s *scanner) typeOf(w *scanWorker, d *dirNode, name string) (uint32, error) {
	if err := linux.StatAt(d.fd, name, &w.after); err != nil {
		return 0, fmt.Errorf("stat %q: %w", name, changedIfGone(err))
	}
	return uint32(w.after.Mode) & TypeMask, nil
}

// skip leaves an entry out. The slice it is in may be in use elsewhere, so it goes later.
func (s *scanner) skip(d *dirNode, e *Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.Inode = nil
	s.holed = append(s.holed, d.entry.Inode)
}

// failed names the file that an error is about.
func (s *scanner) failed(op string, d *dirNode, name string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &fs.PathError{Op: op, Path: d.path(s.dirs.top, name), Err: err}
}
