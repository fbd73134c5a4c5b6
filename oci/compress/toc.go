package compress

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/vbatts/tar-split/tar/storage"
)

const (
	typeReg   = "reg"
	typeChunk = "chunk"
)

// An Entry is one of a tar in the table of contents of a zstd:chunked blob. The fields are those of the tar's headers
// if nothing else is said.
type Entry struct {
	Type       string            `json:"type"` // reg, hardlink, symlink, dir, char, block or fifo
	Name       string            `json:"name"`
	Linkname   string            `json:"linkName,omitempty"`
	Mode       int64             `json:"mode,omitempty"` // permission bits
	Size       int64             `json:"size,omitempty"`
	UID        int               `json:"uid,omitempty"`
	GID        int               `json:"gid,omitempty"`
	ModTime    *time.Time        `json:"modtime,omitempty"`
	AccessTime *time.Time        `json:"accesstime,omitempty"`
	ChangeTime *time.Time        `json:"changetime,omitempty"`
	Devmajor   int64             `json:"devMajor,omitempty"`
	Devminor   int64             `json:"devMinor,omitempty"`
	Xattrs     map[string]string `json:"xattrs,omitempty"` // values in base64
	Digest     string            `json:"digest,omitempty"` // "sha256:" and hexadecimal digits, of all content
	// Offset and EndOffset are where the frames of the content lie in the blob.
	Offset    int64 `json:"offset,omitempty"`
	EndOffset int64 `json:"endOffset,omitempty"`

	// In the file each chunk but the first is an entry of its own after that of its file; [ReadTOC] puts them
	// into Chunks.
	ChunkSize   int64  `json:"chunkSize,omitempty"`
	ChunkOffset int64  `json:"chunkOffset,omitempty"`
	ChunkDigest string `json:"chunkDigest,omitempty"`
	ChunkType   string `json:"chunkType,omitempty"`

	Chunks []Chunk `json:"-"`
}

// A Chunk is a part of a file's content, which is one zstd frame or several.
type Chunk struct {
	Offset, EndOffset int64  // of its frames in the blob
	FileOffset        int64  // of its first byte in the content
	Size              int64  // bytes of content
	Digest            string // as of an Entry
	Zeros             bool   // it is nothing but zeros
}

// Limits of what is written and read.
const (
	maxTOC      = 150 << 20 // podman's, of both forms of a table of contents
	maxTarSplit = 1 << 30   // bytes, compressed
	maxEntries  = 1 << 20   // with chunks
)

// tocWriter writes a table of contents as it goes, so that only its compressed form is in memory.
type tocWriter struct {
	zstd    *zstd.Encoder
	out     bytes.Buffer
	n       int64 // bytes before compression
	entries int
}

func newTOCWriter(level zstd.EncoderLevel) (*tocWriter, error) {
	t := &tocWriter{}
	var err error
	if t.zstd, err = newSmallZstd(&t.out, level); err != nil {
		return nil, err
	}
	return t, t.write([]byte(`{"version":1,"entries":[`))
}

// newSmallZstd opens a compressor of one job, which makes the same bytes everywhere.
func newSmallZstd(out *bytes.Buffer, level zstd.EncoderLevel) (*zstd.Encoder, error) {
	return zstd.NewWriter(out, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1))
}

func (t *tocWriter) write(b []byte) error {
	if t.n += int64(len(b)); t.n > maxTOC {
		return fmt.Errorf("%w: a table of contents of more than %d bytes", ErrTar, maxTOC)
	}
	_, err := t.zstd.Write(b)
	return err
}

func (t *tocWriter) add(e *Entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if t.entries > 0 {
		b = append([]byte{','}, b...)
	}
	if t.entries++; t.entries > maxEntries {
		return fmt.Errorf("%w: more than %d entries and chunks", ErrTar, maxEntries)
	}
	return t.write(b)
}

// finish ends the table.
func (t *tocWriter) finish(tarSplitDigest string) error {
	if err := t.write([]byte(`],"tarSplitDigest":"` + tarSplitDigest + `"}`)); err != nil {
		return err
	}
	return t.zstd.Close()
}

// tarSplit is what the tar has besides content, as github.com/vbatts/tar-split writes it: JSON objects,
// compressed.
type tarSplit struct {
	zstd   *zstd.Encoder
	packer storage.Packer
	out    bytes.Buffer
	n      int64 // bytes before compression
}

func newTarSplit(level zstd.EncoderLevel) (*tarSplit, error) {
	s := &tarSplit{}
	var err error
	if s.zstd, err = newSmallZstd(&s.out, level); err != nil {
		return nil, err
	}
	s.packer = storage.NewJSONPacker(s)
	return s, nil
}

// Write takes what the packer makes.
func (s *tarSplit) Write(b []byte) (int, error) {
	s.n += int64(len(b))
	return s.zstd.Write(b)
}

func (s *tarSplit) add(e storage.Entry) error {
	if _, err := s.packer.AddEntry(e); err != nil {
		return fmt.Errorf("%w: %w", ErrTar, err)
	}
	if s.out.Len() > maxTarSplit {
		return fmt.Errorf("%w: headers of more than %d bytes", ErrTar, maxTarSplit)
	}
	return nil
}
