package erofs

import (
	"io"
	"io/fs"
	"time"

	"github.com/go-composefs/composefs/tree"
)

// fileInfo is [fs.FileInfo] of an inode.
type fileInfo struct {
	name string
	node *tree.Inode
}

func (i *fileInfo) Name() string       { return i.name }
func (i *fileInfo) Size() int64        { return int64(i.node.Size) }
func (i *fileInfo) Mode() fs.FileMode  { return fileMode(i.node.Mode) }
func (i *fileInfo) ModTime() time.Time { return time.Unix(i.node.Mtime.Sec, int64(i.node.Mtime.Nsec)) }
func (i *fileInfo) IsDir() bool        { return i.node.IsDir() }
func (i *fileInfo) Sys() any           { return i.node }

// fileMode translates st_mode.
func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode&0o777) | fileType(mode)
	for _, bit := range []struct {
		unix uint32
		mode fs.FileMode
	}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}} {
		if mode&bit.unix != 0 {
			m |= bit.mode
		}
	}
	return m
}

func fileType(mode uint32) fs.FileMode {
	switch mode & tree.TypeMask {
	case tree.TypeDir:
		return fs.ModeDir
	case tree.TypeSymlink:
		return fs.ModeSymlink
	case tree.TypeChar:
		return fs.ModeDevice | fs.ModeCharDevice
	case tree.TypeBlock:
		return fs.ModeDevice
	case tree.TypeFIFO:
		return fs.ModeNamedPipe
	case tree.TypeSocket:
		return fs.ModeSocket
	}
	return 0
}

// listEntry is [fs.DirEntry]. The inode has been read, its attributes have not.
type listEntry struct {
	f     *FS
	place place
	mode  uint32
}

func (e *listEntry) Name() string               { return e.place.name }
func (e *listEntry) IsDir() bool                { return e.place.in.IsDir() }
func (e *listEntry) Type() fs.FileMode          { return fileType(e.mode) }
func (e *listEntry) Info() (fs.FileInfo, error) { return e.f.info(&e.place, e.place.name) }
func (e *listEntry) String() string             { return fs.FormatDirEntry(e) }

// list returns the entries of a directory that are not hidden, by name.
func (f *FS) list(dir *Inode) ([]fs.DirEntry, error) {
	marked, err := dir.marks()
	if err != nil {
		return nil, err
	}
	var list []fs.DirEntry
	last := ""
	for d, err := range dir.Dirents() {
		if err != nil {
			return list, err
		}
		if d.Name <= last {
			return list, corruptf(dir.Nid, noOffset, "entry %q comes after %q", d.Name, last)
		}
		last = d.Name
		if d.Name == "." || d.Name == ".." {
			continue
		}
		if err := tree.CheckName(d.Name); err != nil {
			return list, corruptf(dir.Nid, noOffset, "%v", err)
		}
		e := &listEntry{f: f, place: place{name: d.Name, marked: marked}}
		in := &e.place.in
		if err := f.img.readInode(d.Nid, in); err != nil {
			return list, err
		}
		if f.img.escapes() && in.IsWhiteout() {
			continue
		}
		e.mode = in.Mode
		if marked && in.IsRegular() && in.Size == 0 {
			node, err := e.place.node()
			if err != nil {
				return list, err
			}
			e.mode = node.Mode
		}
		list = append(list, e)
	}
	return list, nil
}

// dirFile is an open directory.
type dirFile struct {
	f    *FS
	in   *Inode
	info *fileInfo

	listed bool
	rest   []fs.DirEntry
	closed bool
}

func (d *dirFile) Stat() (fs.FileInfo, error) {
	if d.closed {
		return nil, pathError("stat", d.info.name, fs.ErrClosed)
	}
	return d.info, nil
}

func (d *dirFile) Read([]byte) (int, error) {
	return 0, pathError("read", d.info.name, fs.ErrInvalid)
}

func (d *dirFile) Close() error {
	if d.closed {
		return pathError("close", d.info.name, fs.ErrClosed)
	}
	d.closed, d.rest = true, nil
	return nil
}

// ReadDir implements [fs.ReadDirFile].
func (d *dirFile) ReadDir(n int) ([]fs.DirEntry, error) {
	if d.closed {
		return nil, pathError("readdir", d.info.name, fs.ErrClosed)
	}
	if !d.listed {
		rest, err := d.f.list(d.in)
		if err != nil {
			return nil, pathError("readdir", d.info.name, err)
		}
		d.listed, d.rest = true, rest
	}
	if n <= 0 {
		n = len(d.rest)
	} else if len(d.rest) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.rest))
	part := d.rest[:n:n]
	d.rest = d.rest[n:]
	return part, nil
}

// dataFile is an open file whose bytes can be read anywhere.
type dataFile struct {
	*io.SectionReader
	info   *fileInfo
	object fs.File // nil if the bytes are in the image
	closed bool
}

func (f *dataFile) Stat() (fs.FileInfo, error) {
	if f.closed {
		return nil, pathError("stat", f.info.name, fs.ErrClosed)
	}
	return f.info, nil
}

func (f *dataFile) Read(b []byte) (int, error) {
	if f.closed {
		return 0, pathError("read", f.info.name, fs.ErrClosed)
	}
	return f.SectionReader.Read(b)
}

func (f *dataFile) Close() error {
	if f.closed {
		return pathError("close", f.info.name, fs.ErrClosed)
	}
	f.closed = true
	if f.object != nil {
		return f.object.Close()
	}
	return nil
}

// streamFile is an open object that can only be read in order.
type streamFile struct {
	fs.File
	info *fileInfo
}

func (f *streamFile) Stat() (fs.FileInfo, error) { return f.info, nil }
