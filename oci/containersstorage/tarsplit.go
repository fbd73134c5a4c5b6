package containersstorage

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/vbatts/tar-split/tar/storage"
)

// maxLine bounds one line of a tar-split. What is behind the last file comes in pieces of a megabyte, but headers
// with large attributes are written whole.
const maxLine = 64 << 20

// entry is one line of a tar-split: raw bytes, or a file.
type entry struct {
	data []byte

	name string
	path string // name, clean, relative to the diff directory
	size int64
	crc  uint64
}

// splitEntries reads the entries of a tar-split, uncompressed.
type splitEntries struct {
	r    *bufio.Reader
	line int64  // number of the line that was read last, from 1
	long []byte // a line that is larger than the buffer of r
}

func newSplitEntries(r io.Reader) *splitEntries {
	return &splitEntries{r: bufio.NewReaderSize(r, 64<<10)}
}

func (s *splitEntries) where() string { return fmt.Sprintf("tar-split, line %d", s.line) }

// next returns the next entry, and io.EOF behind the last one.
func (s *splitEntries) next() (entry, error) {
	line, err := s.readLine()
	if err != nil {
		return entry{}, err
	}
	s.line++
	if raw, ok := decodeRaw(line); ok {
		return entry{data: raw}, nil
	}
	var e storage.Entry
	if err := json.Unmarshal(line, &e); err != nil {
		return entry{}, corruptf("%s: %v", s.where(), err)
	}
	switch e.Type {
	case storage.SegmentType:
		return entry{data: e.Payload}, nil
	case storage.FileType:
		return s.file(&e)
	}
	return entry{}, corruptf("%s: type %d", s.where(), e.Type)
}

// decodeRaw takes a line of raw bytes apart, if it is written as tar-split does. Most lines are, and encoding/json
// takes most of the time that a layer of small files needs.
func decodeRaw(line []byte) ([]byte, bool) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"type":2,"payload":"`))
	if !ok {
		return nil, false
	}
	payload, rest, ok := bytes.Cut(rest, []byte(`","position":`))
	number, closed := bytes.CutSuffix(rest, []byte("}"))
	// The decoder would pass over the end of a line.
	if !ok || !closed || !isNumber(number) || bytes.IndexByte(payload, '\r') >= 0 {
		return nil, false
	}
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(payload)))
	n, err := base64.StdEncoding.Decode(raw, payload)
	return raw[:n], err == nil
}

// isNumber says whether b is an integer as encoding/json writes it, and small.
func isNumber(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0 && len(b) < 19 && (b[0] != '0' || len(b) == 1)
}

func (s *splitEntries) file(e *storage.Entry) (entry, error) {
	name := e.GetName()
	switch {
	case e.Size == 0: // a link, a directory, an empty file: nothing of the tar is here
		return entry{}, nil
	case e.Size < 0:
		return entry{}, corruptf("%s: %q has the size %d", s.where(), name, e.Size)
	case len(e.Payload) != 8:
		return entry{}, corruptf("%s: %q has a checksum of %d bytes", s.where(), name, len(e.Payload))
	case strings.ContainsRune(name, 0):
		return entry{}, corruptf("%s: the name %q has a zero byte", s.where(), name)
	}
	clean := path.Clean("/" + name)[1:]
	if clean == "" {
		return entry{}, corruptf("%s: %q names no file", s.where(), name)
	}
	return entry{name: name, path: clean, size: e.Size, crc: binary.BigEndian.Uint64(e.Payload)}, nil
}

// readLine returns the next line that is not empty, without its end.
func (s *splitEntries) readLine() ([]byte, error) {
	for {
		line, err := s.r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			s.long = append(s.long[:0], line...)
			for errors.Is(err, bufio.ErrBufferFull) {
				if len(s.long) > maxLine {
					return nil, corruptf("tar-split, line %d: more than %d bytes", s.line+1, maxLine)
				}
				line, err = s.r.ReadSlice('\n')
				s.long = append(s.long, line...)
			}
			line = s.long
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read tar-split: %w", err)
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
		if err != nil {
			return nil, io.EOF
		}
	}
}

// splitFile is a compressed tar-split.
type splitFile struct {
	*splitEntries
	gzip *gzip.Reader
	file *os.File
}

// newSplitFile takes f, unless it fails.
func newSplitFile(f *os.File) (*splitFile, error) {
	in := bufio.NewReaderSize(f, 64<<10)
	if begin, err := in.Peek(1); errors.Is(err, io.EOF) && len(begin) == 0 {
		return nil, corruptf("the tar-split is empty")
	}
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, corruptf("tar-split: %v", err)
	}
	return &splitFile{newSplitEntries(brokenGzip{z}), z, f}, nil
}

func (s *splitFile) Close() error { return errors.Join(s.gzip.Close(), s.file.Close()) }

// brokenGzip tells a stream that is broken from the end of one.
type brokenGzip struct{ z *gzip.Reader }

func (b brokenGzip) Read(p []byte) (int, error) {
	n, err := b.z.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = corruptf("decompress: %v", err)
	}
	return n, err
}
