package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/linux"
)

const (
	// smallFile is up to how many bytes a file is read in one piece.
	smallFile = 128 << 10
	// largeFile is from how many bytes on one file is hashed by all goroutines.
	largeFile = 16 << 20
)

// fileState is what tells a file that is at rest.
type fileState struct {
	FileState
	mode uint16
}

func stateOf(st *unix.Statx_t) fileState {
	return fileState{FileState{idOf(st), st.Size, timeOf(st.Mtime), timeOf(st.Ctime)}, st.Mode}
}

// same says whether a file is as it was. A sink that makes links changes the time of that.
func (s *scanner) same(a, b fileState) bool {
	if s.opts.SinkLinks {
		a.Ctime, b.Ctime = Timespec{}, Timespec{}
	}
	return a == b
}

func timeOf(t unix.StatxTimestamp) Timespec { return Timespec{t.Sec, t.Nsec} }

// scanFile reads one file that is not a directory, and says whether it was a large one.
func (s *scanner) scanFile(ctx context.Context, w *scanWorker, d *dirNode, e *Entry) (bool, error) {
	if s.opts.Cache != nil && s.known(w, d, e) {
		return false, nil
	}
	f, err := openFile(d.fd, e)
	if err != nil {
		return false, s.failed("open", d, e.Name, changedIfGone(err))
	}
	defer f.close()
	if err := linux.Stat(f.fd, &w.stat); err != nil {
		return false, s.failed("stat", d, e.Name, err)
	}
	n := e.Inode
	if kind := uint32(w.stat.Mode) & TypeMask; kind != n.Mode {
		return false, s.failed("open", d, e.Name, fmt.Errorf("%w: it is of another type now", ErrChanged))
	}
	if slices.Contains(s.opts.Skip, idOf(&w.stat)) {
		s.skip(d, e)
		return false, nil
	}
	if s.opts.Hardlinks && w.stat.Nlink > 1 {
		if known, err := s.meet(w, e); known || err != nil {
			return false, s.failed("stat", d, e.Name, err)
		}
	}
	s.metadata(n, &w.stat)
	return w.stat.Size > smallFile, s.content(ctx, w, d, e, &f)
}

// openedFile is a descriptor of a file that is scanned.
type openedFile struct {
	fd       int
	readable bool     // else it is a reference
	file     *os.File // if not nil: it owns fd
}

// openFile opens a file. One whose directory says that it is regular is opened for reading at
// once, which takes half the time of a reference that is opened again; should something else be there
// by now, it is not waited for. All others, and what cannot be opened so, are opened as references.
func openFile(dirfd int, e *Entry) (openedFile, error) {
	if e.Inode.IsRegular() {
		fd, err := linux.OpenAt(dirfd, e.Name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err == nil {
			return openedFile{fd: fd, readable: true}, nil
		}
	}
	fd, err := linux.OpenPath(dirfd, e.Name)
	return openedFile{fd: fd}, err
}

// read makes a reference readable.
func (f *openedFile) read() error {
	if f.readable {
		return nil
	}
	fd, err := linux.Reopen(f.fd, unix.O_RDONLY|unix.O_NOCTTY)
	if err != nil {
		return err
	}
	f.close()
	*f = openedFile{fd: fd, readable: true}
	return nil
}

func (f *openedFile) close() {
	if f.file != nil {
		_ = f.file.Close() // it was only read
		return
	}
	_ = unix.Close(f.fd) // it was only read
}

// meet makes e another name of its file, if the file was met before. Only metadata is sure to
// be there already: whoever met it first may still be reading it.
func (s *scanner) meet(w *scanWorker, e *Entry) (known bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, known := s.seen[idOf(&w.stat)]
	if !known {
		if s.seen == nil {
			s.seen = map[FileID]linked{}
		}
		s.seen[idOf(&w.stat)] = linked{e.Inode, stateOf(&w.stat)}
		return false, nil
	}
	if !s.same(first.stat, stateOf(&w.stat)) {
		return true, ErrChanged
	}
	e.Inode, e.Link = first.inode, true
	return true, nil
}

func (s *scanner) metadata(n *Inode, st *unix.Statx_t) {
	n.Mode = uint32(st.Mode)
	n.UID, n.GID = st.Uid, st.Gid
	n.Nlink = 1
	n.Size = st.Size
	n.Rdev = linux.Device(st.Rdev_major, st.Rdev_minor)
	n.Mtime = timeOf(st.Mtime)
	if c := s.opts.MtimeClamp; c != nil && n.Mtime.Compare(*c) > 0 {
		n.Mtime = *c
	}
	if s.opts.UseEpoch {
		n.Mtime = Timespec{}
	}
}

// content reads what else there is to a file: attributes, target, data.
func (s *scanner) content(ctx context.Context, w *scanWorker, d *dirNode, e *Entry, f *openedFile) error {
	n := e.Inode
	done := int64(0)
	switch {
	case n.IsRegular() && n.Size > 0 && !s.cached(w, n):
		if err := s.data(ctx, w, d, e, f); err != nil {
			return err
		}
		done = int64(n.Size)
	default:
		if n.IsSymlink() {
			var err error
			if n.Target, err = linux.ReadLink(f.fd, w.data[:MaxTarget+1]); err != nil {
				return s.failed("read link", d, e.Name, err)
			}
			n.Size = uint64(len(n.Target))
		}
		if err := s.readXattrs(w, n, f.fd, !f.readable); err != nil {
			return s.failed("read attributes of", d, e.Name, err)
		}
	}
	if s.opts.Progress != nil {
		s.opts.Progress.Add(1, done)
	}
	return nil
}

// known says whether the cache has all there is to a file, and takes it from there: then the file need
// not be opened, and one system call tells its name, type and state at one time.
func (s *scanner) known(w *scanWorker, d *dirNode, e *Entry) bool {
	n := e.Inode
	if !n.IsRegular() || linux.StatAt(d.fd, e.Name, &w.stat) != nil {
		return false // opening it says why
	}
	st := &w.stat
	if uint32(st.Mode)&TypeMask != TypeRegular || st.Size == 0 || s.opts.Hardlinks && st.Nlink > 1 ||
		slices.Contains(s.opts.Skip, idOf(st)) || s.isInline(st.Size) {
		return false
	}
	file, ok := s.opts.Cache.Lookup(stateOf(st).FileState)
	if !ok || !file.Bare && !s.opts.SkipXattrs {
		return false
	}
	s.metadata(n, st)
	n.Digest = file.Digest
	if s.opts.Progress != nil {
		s.opts.Progress.Add(1, int64(n.Size))
	}
	return true
}

// cached sets the digest of a file that is open for its attributes only.
func (s *scanner) cached(w *scanWorker, n *Inode) bool {
	if s.opts.Cache == nil || s.isInline(n.Size) {
		return false
	}
	file, ok := s.opts.Cache.Lookup(stateOf(&w.stat).FileState)
	n.Digest = file.Digest
	return ok
}

// remember tells the cache of a file that was read.
func (s *scanner) remember(w *scanWorker, n *Inode) {
	if s.opts.Cache != nil && !s.isInline(n.Size) {
		all := !s.opts.SkipXattrs && !s.opts.UserXattrs
		s.opts.Cache.Remember(stateOf(&w.after).FileState, KnownFile{n.Digest, all && len(n.Xattrs) == 0})
	}
}

// data reads a regular file that is not empty.
func (s *scanner) data(ctx context.Context, w *scanWorker, d *dirNode, e *Entry, f *openedFile) error {
	if err := f.read(); err != nil {
		return s.failed("open", d, e.Name, err)
	}
	n := e.Inode
	if s.opts.Sink != nil && !s.isInline(n.Size) {
		f.file = os.NewFile(uintptr(f.fd), d.path(s.dirs.top, e.Name))
	}
	if err := s.readXattrs(w, n, f.fd, false); err != nil {
		return s.failed("read attributes of", d, e.Name, err)
	}
	readErr := s.readData(ctx, w, n, f)
	// Whatever went wrong, that the file changed is the better explanation.
	if err := linux.Stat(f.fd, &w.after); err != nil {
		return s.failed("stat", d, e.Name, err)
	}
	if !s.same(stateOf(&w.stat), stateOf(&w.after)) || errors.Is(readErr, fsverity.ErrSize) {
		return s.failed("read", d, e.Name, ErrChanged)
	}
	if readErr == nil {
		s.remember(w, n)
	}
	return s.failed("read", d, e.Name, readErr)
}

func (s *scanner) isInline(size uint64) bool {
	return s.opts.InlineMax > 0 && size <= uint64(s.opts.InlineMax)
}

// readData sets the content or the digest of n.
func (s *scanner) readData(ctx context.Context, w *scanWorker, n *Inode, f *openedFile) error {
	var err error
	switch {
	case f.file != nil:
		n.Digest, err = s.opts.Sink.Put(ctx, f.file, int64(n.Size))
		return err
	case n.Size > smallFile:
		opts := fsverity.FileOptions{Options: fsverity.Options{Algorithm: s.opts.Algorithm}, Jobs: 1}
		if n.Size >= largeFile {
			opts.Jobs = s.opts.Jobs
		}
		n.Digest, err = fsverity.File(ctx, fdReader(f.fd), int64(n.Size), opts)
		return err
	}
	got, err := linux.ReadAt(f.fd, w.data[:n.Size], 0)
	if err != nil {
		return err
	}
	if uint64(got) != n.Size {
		return fsverity.ErrSize
	}
	if data := w.data[:got]; s.isInline(n.Size) {
		n.Content = slices.Clone(data)
	} else {
		n.Digest, err = fsverity.Sum(s.opts.Algorithm, data)
	}
	return err
}

// fdReader reads a descriptor as an [io.ReaderAt].
type fdReader int

func (fd fdReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := linux.ReadAt(int(fd), p, off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}
