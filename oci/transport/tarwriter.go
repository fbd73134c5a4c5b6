package transport

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/go-composefs/composefs/internal/atomicfile"
)

const tarBlock = 512

// tarWriter writes an archive beside its name, entry by entry. The header of an entry is written
// after its content, so that neither size nor name have to be known before, and nothing is spooled. It
// is safe for concurrent use: entries wait for each other.
type tarWriter struct {
	path   string
	file   *os.File
	target *atomicfile.File // nil: what is at path cannot be replaced, and gets all of it at the end

	mu     sync.Mutex
	offset int64 // where the next entry begins
	names  map[string]bool
	done   bool
}

func createTar(path string, opts *Options) (*tarWriter, error) {
	w := &tarWriter{path: path, names: map[string]bool{}}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		w.file, err = tempFile(opts)
		return w, err
	}
	target, err := atomicfile.Create(path, 0o644)
	if err != nil {
		return nil, err
	}
	w.file, w.target = target.File, target
	return w, nil
}

// has says whether there is an entry of a name.
func (w *tarWriter) has(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.names[name]
}

// add writes an entry with what r gives. Name is called when r is at its end, and may refuse the
// content: nothing is left of it then. An entry of a name that is there already is dropped.
func (w *tarWriter) add(ctx context.Context, r io.Reader, name func() (string, error)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return fmt.Errorf("write %s: %w", w.path, os.ErrClosed)
	}
	if _, err := w.file.Seek(w.offset+tarBlock, io.SeekStart); err != nil {
		return err
	}
	n, err := io.Copy(w.file, readUntil(ctx, r))
	if err != nil {
		return err
	}
	entry, err := name()
	if err != nil || w.names[entry] {
		return err
	}
	return w.finishEntry(&tar.Header{Typeflag: tar.TypeReg, Name: entry, Size: n, Mode: 0o644})
}

// addBytes writes an entry with content of a known name.
func (w *tarWriter) addBytes(name string, data []byte) error {
	return w.add(context.Background(), bytes.NewReader(data), func() (string, error) { return name, nil })
}

// addDir writes an entry for a directory.
func (w *tarWriter) addDir(name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.names[name] {
		return nil
	}
	return w.finishEntry(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
}

// finishEntry writes the header before the content that is there, and padding after it.
func (w *tarWriter) finishEntry(h *tar.Header) error {
	// No time, so that the same image gives the same archive.
	h.ModTime = time.Unix(0, 0)
	h.Format = tar.FormatUSTAR
	if h.Size >= 8<<30 {
		h.Format = tar.FormatGNU // has larger numbers in the same block
	}
	var header bytes.Buffer
	if err := tar.NewWriter(&header).WriteHeader(h); err != nil {
		return err
	}
	if header.Len() != tarBlock {
		return fmt.Errorf("write the header of %s: %d bytes", h.Name, header.Len())
	}
	if _, err := w.file.WriteAt(header.Bytes(), w.offset); err != nil {
		return err
	}
	end := w.offset + tarBlock + h.Size
	padded := (end + tarBlock - 1) / tarBlock * tarBlock
	if _, err := w.file.WriteAt(make([]byte, padded-end), end); err != nil {
		return err
	}
	w.offset = padded
	w.names[cleanDir(h)] = true
	return nil
}

func cleanDir(h *tar.Header) string {
	if h.Typeflag == tar.TypeDir {
		return h.Name[:len(h.Name)-1]
	}
	return h.Name
}

// commit ends the archive and gives it its name.
func (w *tarWriter) commit(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return fmt.Errorf("write %s: %w", w.path, os.ErrClosed)
	}
	// What a refused entry left is behind the end, and goes.
	if err := w.file.Truncate(w.offset); err != nil {
		return err
	}
	if _, err := w.file.WriteAt(make([]byte, 2*tarBlock), w.offset); err != nil {
		return err
	}
	w.done = true
	if w.target != nil {
		return w.target.Commit()
	}
	to, err := os.OpenFile(w.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = w.file.Seek(0, io.SeekStart)
	if err == nil {
		_, err = io.Copy(to, readUntil(ctx, w.file))
	}
	return errors.Join(err, to.Close())
}

// close drops the archive unless it was committed.
func (w *tarWriter) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = true
	if w.target != nil {
		w.target.Abort()
		return nil
	}
	return w.file.Close()
}
