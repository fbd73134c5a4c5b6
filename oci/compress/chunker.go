package compress

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"hash/crc64"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vbatts/tar-split/archive/tar"
	"github.com/vbatts/tar-split/tar/storage"
)

// chunker takes a tar apart into frames, and writes the tar-split of it.
type chunker struct {
	pieces *pieces
	split  *tarSplit
	piece  *piece // that is being filled
	raw    int    // bytes at its end that are headers and not a frame yet
}

var crcTable = crc64.MakeTable(crc64.ISO)

// run reads all of r.
func (c *chunker) run(r io.Reader) error {
	c.piece = c.pieces.take()
	err := c.entries(r)
	if err != nil {
		// The prober wants to see as much as is certain. Headers may go on.
		c.raw = 0
	}
	if errFlush := c.flush(); err == nil {
		err = errFlush
	}
	c.pieces.free <- c.piece
	return err
}

func (c *chunker) entries(r io.Reader) error {
	t := tar.NewReader(r)
	t.RawAccounting = true
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return c.rest(t, r)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrTar, err)
		}
		if err := c.header(t.RawBytes()); err != nil {
			return err
		}
		if err := c.entry(t, h); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
}

// rest takes what comes after the last entry.
func (c *chunker) rest(t *tar.Reader, r io.Reader) error {
	if err := c.header(t.RawBytes()); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(r, buf)
		if errHeader := c.header(buf[:n]); errHeader != nil {
			return errHeader
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// header takes bytes that are not the content of a file.
func (c *chunker) header(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := c.split.add(storage.Entry{Type: storage.SegmentType, Payload: b}); err != nil {
		return err
	}
	for len(b) > 0 {
		n := min(len(b), pieceSize-len(c.piece.plain))
		c.piece.plain = append(c.piece.plain, b[:n]...)
		c.raw += n
		if b = b[n:]; len(b) > 0 {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// endHeaders makes a frame of the headers that there are.
func (c *chunker) endHeaders() {
	if c.raw > 0 {
		c.piece.frames = append(c.piece.frames, frame{size: c.raw})
		c.raw = 0
	}
}

// flush passes the piece on.
func (c *chunker) flush() error {
	c.endHeaders()
	if len(c.piece.frames) > 0 {
		c.pieces.give(c.piece)
		c.piece = c.pieces.take()
	}
	if c.pieces.failed.Load() {
		return errGivenUp
	}
	return nil
}

// errGivenUp is what reading ends with when writing has failed, whose error is the one that counts.
var errGivenUp = errors.New("given up")

func (c *chunker) entry(t *tar.Reader, h *tar.Header) error {
	e, err := newEntry(h)
	if err != nil {
		return err
	}
	in := storage.Entry{Type: storage.FileType, Size: h.Size}
	in.SetName(h.Name)
	if h.Size == 0 {
		c.piece.frames = append(c.piece.frames, frame{entry: e})
		return c.split.add(in)
	}
	crc := crc64.New(crcTable)
	if err := c.content(t, e, crc); err != nil {
		return err
	}
	in.Payload = crc.Sum(nil)
	return c.split.add(in)
}

// content takes the content of a file, which is not empty.
func (c *chunker) content(r io.Reader, e *Entry, crc hash.Hash64) error {
	var whole hash.Hash
	if e.Size > pieceSize {
		whole = sha256.New()
	}
	for offset := int64(0); offset < e.Size; {
		c.endHeaders()
		n := int(min(pieceSize, e.Size-offset))
		if len(c.piece.plain)+n > pieceSize {
			if err := c.flush(); err != nil {
				return err
			}
		}
		start := len(c.piece.plain)
		chunk := c.piece.plain[start : start+n]
		if _, err := io.ReadFull(r, chunk); err != nil {
			return fmt.Errorf("%w: %w", ErrTar, err)
		}
		c.piece.plain = c.piece.plain[:start+n]
		_, _ = crc.Write(chunk)
		f := frame{size: n, entry: e, chunkOffset: offset}
		if whole != nil {
			_, _ = whole.Write(chunk)
		}
		offset += int64(n)
		if f.last = offset == e.Size; f.last && whole != nil {
			f.whole = digestString(whole.Sum(nil))
		}
		c.piece.frames = append(c.piece.frames, f)
	}
	return nil
}

// entryTypes are those of the table of contents.
var entryTypes = map[byte]string{
	tar.TypeReg: typeReg, tar.TypeLink: "hardlink", tar.TypeSymlink: "symlink", tar.TypeDir: "dir",
	tar.TypeChar: "char", tar.TypeBlock: "block", tar.TypeFifo: "fifo",
}

// newEntry makes an entry of the table of contents of a header.
func newEntry(h *tar.Header) (*Entry, error) {
	kind, ok := entryTypes[h.Typeflag]
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: of type %q", ErrTar, h.Typeflag)
	case kind != typeReg && h.Size != 0:
		return nil, fmt.Errorf("%w: a %s of %d bytes", ErrTar, kind, h.Size)
	case !utf8.ValidString(h.Name) || !utf8.ValidString(h.Linkname):
		return nil, fmt.Errorf("%w: a name that is no UTF-8", ErrTar)
	}
	e := &Entry{
		Type: kind, Name: h.Name, Linkname: h.Linkname, Mode: h.Mode, Size: h.Size, UID: h.Uid, GID: h.Gid,
		Devmajor: h.Devmajor, Devminor: h.Devminor,
	}
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return nil, fmt.Errorf("%w: a sparse file", ErrTar)
		}
		if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			if !utf8.ValidString(name) {
				return nil, fmt.Errorf("%w: an attribute whose name is no UTF-8", ErrTar)
			}
			if e.Xattrs == nil {
				e.Xattrs = map[string]string{}
			}
			e.Xattrs[name] = base64.StdEncoding.EncodeToString([]byte(h.PAXRecords[key]))
		}
	}
	for _, at := range []struct {
		t  time.Time
		to **time.Time
	}{{h.ModTime, &e.ModTime}, {h.AccessTime, &e.AccessTime}, {h.ChangeTime, &e.ChangeTime}} {
		if at.t.IsZero() {
			continue
		}
		// JSON has no others.
		utc := at.t.UTC()
		if y := utc.Year(); y < 0 || y > 9999 {
			return nil, fmt.Errorf("%w: of the year %d", ErrTar, y)
		}
		*at.to = &utc
	}
	return e, nil
}
