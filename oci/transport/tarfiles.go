package transport

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Bounds of archives.
const (
	maxEntries   = 200_000
	maxEntryName = 4096
	maxLinks     = 16 // from one name to the next, until there is a file
)

// tarFiles are the files in a tar, which is read in place: only its headers are looked at when it is
// opened. Nothing in it can name anything outside.
type tarFiles struct {
	file    *os.File
	entries map[string]tarEntry
}

// tarEntry is where a file's content is, or the name of the entry that has it.
type tarEntry struct {
	offset int64
	size   int64
	link   string
}

// openTar opens an archive. What can be read only once, or is compressed, is spooled first.
func openTar(ctx context.Context, name string, opts *Options) (*tarFiles, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if f, err = seekable(ctx, f, opts); err != nil {
		return nil, err
	}
	t := &tarFiles{file: f, entries: map[string]tarEntry{}}
	if err := t.scan(ctx); err != nil {
		f.Close()
		return nil, err
	}
	return t, nil
}

// scan finds all entries. As when tar unpacks, of equal names the last counts.
func (t *tarFiles) scan(ctx context.Context) error {
	// The reader takes whole blocks and no more, so the file's position is that of the content.
	r := tar.NewReader(t.file)
	for n := 0; ; n++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", n, err)
		}
		if n >= maxEntries {
			return fmt.Errorf("%w: it has more than %d entries", ErrLimit, maxEntries)
		}
		if len(h.Name) > maxEntryName {
			return fmt.Errorf("entry %d: %w: its name has %d bytes", n, ErrLimit, len(h.Name))
		}
		if err := t.add(h); err != nil {
			return fmt.Errorf("entry %d, %.100q: %w", n, h.Name, err)
		}
	}
}

func (t *tarFiles) add(h *tar.Header) error {
	name, err := insideTar(h.Name)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir, tar.TypeXGlobalHeader:
		return nil
	case tar.TypeReg:
		for key := range h.PAXRecords {
			if strings.HasPrefix(key, "GNU.sparse.") {
				return fmt.Errorf("sparse file: %w", ErrUnsupported)
			}
		}
		at, err := t.file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		t.entries[name] = tarEntry{offset: at, size: h.Size}
		return nil
	case tar.TypeSymlink:
		if path.IsAbs(h.Linkname) {
			return fmt.Errorf("link to the absolute path %.100q", h.Linkname)
		}
		link, err := insideTar(path.Join(path.Dir(name), h.Linkname))
		if err != nil {
			return err
		}
		t.entries[name] = tarEntry{link: link}
		return nil
	case tar.TypeLink:
		link, err := insideTar(h.Linkname)
		if err != nil {
			return err
		}
		t.entries[name] = tarEntry{link: link}
		return nil
	}
	return fmt.Errorf("entry of type %q: %w", h.Typeflag, ErrUnsupported)
}

// insideTar returns a name in the form under which entries are kept.
func insideTar(name string) (string, error) {
	name = strings.TrimPrefix(path.Clean("./"+name), "/")
	if !fs.ValidPath(name) {
		return "", fmt.Errorf("the name %.100q leads out of the archive", name)
	}
	return name, nil
}

// resolve follows links to a file.
func (t *tarFiles) resolve(name string) (string, tarEntry, error) {
	clean, err := insideTar(name)
	if err != nil {
		return "", tarEntry{}, err
	}
	for range maxLinks {
		e, ok := t.entries[clean]
		if !ok {
			return "", tarEntry{}, fmt.Errorf("find %.200q in the archive: %w", name, ErrNotFound)
		}
		if e.link == "" {
			return clean, e, nil
		}
		clean = e.link
	}
	return "", tarEntry{}, fmt.Errorf("%w: %.200q has more than %d links", ErrLimit, name, maxLinks)
}

func (t *tarFiles) open(name string) (openFile, int64, error) {
	_, e, err := t.resolve(name)
	if err != nil {
		return nil, 0, err
	}
	return section{io.NewSectionReader(t.file, e.offset, e.size)}, e.size, nil
}

// section is a part of the archive, which stays open when it is closed.
type section struct{ *io.SectionReader }

func (section) Close() error { return nil }

func (t *tarFiles) Close() error { return t.file.Close() }
