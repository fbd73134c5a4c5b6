package tardiff

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Source opens files of the old image.
type Source interface {
	// Open opens a regular file. The path is relative to the root of the image, clean, not empty, and
	// leads nowhere above the root; a symlink on its way must not lead out of the image either. A file
	// that is not there is [fs.ErrNotExist]. The caller closes the file before it opens another one.
	Open(path string) (File, error)
}

// File is the content of a regular file of the old image.
type File interface {
	io.ReaderAt
	io.Closer
	Size() int64 // bytes
}

// FromFS returns the files of a file system as a source, and as [OldFiles]. That of [os.Root.FS] keeps
// symlinks beneath its root, that of [os.DirFS] does not; an image opened with package erofs follows none.
// Files that are no [io.ReaderAt] are refused.
func FromFS(f fs.FS) OldFiles { return fileSystem{f} }

type fileSystem struct{ fs fs.FS }

func (s fileSystem) Open(name string) (File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	// Opening a FIFO would wait for its writer.
	info, err := fs.Stat(s.fs, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errNotRegular}
	}
	f, err := s.fs.Open(name)
	if err != nil {
		return nil, err
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		return nil, errors.Join(&fs.PathError{Op: "read", Path: name, Err: errors.ErrUnsupported}, f.Close())
	}
	return openFile{at, f, info.Size()}, nil
}

var errNotRegular = errors.New("not a regular file")

type openFile struct {
	io.ReaderAt
	io.Closer
	size int64
}

func (f openFile) Size() int64 { return f.size }

// cleanPath returns the path of a file beneath the root, as tar-patch does: what leads above the root
// stays there.
func cleanPath(name string) (string, error) {
	if strings.ContainsRune(name, 0) {
		return "", formatf("path %q has a zero byte", name)
	}
	clean := path.Clean("/" + name)[1:]
	if clean == "" {
		return "", formatf("path %q names no file", name)
	}
	return clean, nil
}

// reader is the open source file and the place in it.
type reader struct {
	source Source
	path   string // empty until a file is opened
	file   File
	at     int64
}

// open makes another file the source.
func (r *reader) open(name string) error {
	if err := r.close(); err != nil {
		return err
	}
	clean, err := cleanPath(name)
	if err != nil {
		return err
	}
	file, err := r.source.Open(clean)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errNotRegular):
		return fmt.Errorf("%w: %w", ErrSource, err)
	case err != nil:
		return err
	}
	r.file, r.at = file, 0
	return nil
}

func (r *reader) close() error {
	if r.file == nil {
		return nil
	}
	file := r.file
	r.file = nil
	return file.Close()
}

// seek sets the place, which may be the end of the file and not behind it.
func (r *reader) seek(to uint64) error {
	switch {
	case r.file == nil:
		return formatf("no source is open")
	case to > uint64(max(r.file.Size(), 0)):
		return fmt.Errorf("%w: seek to byte %d of %d", ErrSource, to, r.file.Size())
	}
	r.at = int64(to)
	return nil
}

// has says whether there are n more bytes.
func (r *reader) has(n uint64) error {
	switch {
	case r.file == nil:
		return formatf("no source is open")
	case n > uint64(max(r.file.Size()-r.at, 0)):
		return fmt.Errorf("%w: %d bytes wanted from byte %d of %d", ErrSource, n, r.at, r.file.Size())
	}
	return nil
}

// read fills p from the place on, and moves it.
func (r *reader) read(p []byte) error {
	n, err := r.file.ReadAt(p, r.at)
	switch {
	case n == len(p):
		r.at += int64(n)
		return nil
	case errors.Is(err, io.EOF), err == nil:
		return fmt.Errorf("%w: it ends at byte %d, not at %d", ErrSource, r.at+int64(n), r.file.Size())
	}
	return fmt.Errorf("read source: %w", err)
}
