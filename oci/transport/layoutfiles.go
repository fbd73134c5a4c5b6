package transport

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/go-composefs/composefs/oci/manifest"
)

// openFile is a file of a layout that is being read.
type openFile interface {
	io.Reader
	io.Seeker
	io.Closer
}

// files are those of a layout, in a directory or in an archive. It is safe for concurrent use.
type files interface {
	// open opens a regular file by its path with slashes, and returns its size. One that is not there gives
	// ErrNotFound.
	open(name string) (openFile, int64, error)
	io.Closer
}

// dirFiles are files below a directory. Links that lead out of it are not followed.
type dirFiles struct{ root *os.Root }

func (d dirFiles) open(name string) (openFile, int64, error) {
	// Without O_NONBLOCK a FIFO would keep its reader for ever.
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("is no regular file")}
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func (d dirFiles) Close() error { return d.root.Close() }

// readDocument reads a file of at most [manifest.MaxSize] bytes.
func readDocument(from files, name string) ([]byte, error) {
	f, size, err := from.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > manifest.MaxSize {
		return nil, fmt.Errorf("read %s: %w: it has %d bytes, %d are allowed", name, ErrLimit, size, manifest.MaxSize)
	}
	data, err := io.ReadAll(io.LimitReader(f, manifest.MaxSize+1))
	if err == nil && int64(len(data)) != size {
		err = fmt.Errorf("read %s: %w", name, io.ErrUnexpectedEOF)
	}
	return data, err
}

// sized is the rest of a file that has to have so many bytes.
type sized struct {
	openFile
	left int64
}

// sizedFrom opens a file of a known size (or of any, if that is negative) at an offset.
func sizedFrom(from files, name string, size, offset int64) (io.ReadCloser, error) {
	f, have, err := from.open(name)
	if err != nil {
		return nil, err
	}
	if size >= 0 && have != size {
		f.Close()
		return nil, fmt.Errorf("it has %d bytes, the descriptor says %d: %w", have, size, ErrDigest)
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return &sized{openFile: f, left: max(have-offset, 0)}, nil
}

func (s *sized) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, io.EOF
	}
	n, err := s.openFile.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	if errors.Is(err, io.EOF) && s.left > 0 {
		err = io.ErrUnexpectedEOF // another process has cut it short
	}
	return n, err
}
