package compress

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// parseTOC reads the JSON of a table of contents. Content has to lie before end.
func parseTOC(data []byte, end int64) (*TOC, error) {
	p := &tocParser{toc: &TOC{}, json: json.NewDecoder(bytes.NewReader(data)), end: end}
	if err := p.object(); err != nil {
		return nil, fmt.Errorf("%w: at byte %d: %w", ErrTOC, p.json.InputOffset(), err)
	}
	return p.toc, nil
}

// tocParser reads entry by entry, so that there are not all of them twice in memory.
type tocParser struct {
	toc  *TOC
	json *json.Decoder
	end  int64
	n    int // entries and chunks
}

// expect reads a delimiter.
func (p *tocParser) expect(want json.Delim) error {
	t, err := p.json.Token()
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("%v where %v should be", t, want)
	}
	return nil
}

func (p *tocParser) object() error {
	if err := p.expect('{'); err != nil {
		return err
	}
	version := 0
	seen := map[string]bool{}
	for p.json.More() {
		key, err := p.json.Token()
		if err != nil {
			return err
		}
		name, ok := key.(string)
		if !ok || seen[name] {
			return fmt.Errorf("key %v", key)
		}
		switch name {
		case "version":
			err = p.json.Decode(&version)
		case "entries":
			err = p.entries()
		case "tarSplitDigest":
			if err = p.json.Decode(&p.toc.TarSplitDigest); err == nil && p.toc.TarSplitDigest != "" {
				err = checkDigest(p.toc.TarSplitDigest)
			}
		default:
			var other json.RawMessage
			err = p.json.Decode(&other)
			name = ""
		}
		if err != nil {
			return err
		}
		seen[name] = name != ""
	}
	if err := p.expect('}'); err != nil {
		return err
	}
	if version != 1 {
		return fmt.Errorf("version %d", version)
	}
	if _, err := p.json.Token(); err != io.EOF {
		return fmt.Errorf("something follows it")
	}
	return nil
}

func (p *tocParser) entries() error {
	if err := p.expect('['); err != nil {
		return err
	}
	var file Entry // whose chunks may follow
	for p.json.More() {
		if p.n++; p.n > maxEntries {
			return fmt.Errorf("more than %d entries and chunks", maxEntries)
		}
		var e Entry
		if err := p.json.Decode(&e); err != nil {
			return err
		}
		if e.Type == typeChunk {
			if err := p.chunk(&file, &e); err != nil {
				return fmt.Errorf("chunk of %q: %w", e.Name, err)
			}
			continue
		}
		if err := p.finish(&file); err != nil {
			return err
		}
		if err := p.begin(&e); err != nil {
			return fmt.Errorf("entry %q: %w", e.Name, err)
		}
		file = e
	}
	if err := p.finish(&file); err != nil {
		return err
	}
	return p.expect(']')
}

var isEntryType = func() map[string]bool {
	is := map[string]bool{}
	for _, kind := range entryTypes {
		is[kind] = true
	}
	return is
}()

// begin checks an entry, but for its chunks.
func (p *tocParser) begin(e *Entry) error {
	switch {
	case !isEntryType[e.Type]:
		return fmt.Errorf("type %q", e.Type)
	case e.Name == "":
		return fmt.Errorf("without a name")
	case e.Size < 0 || e.Type != typeReg && e.Size > 0:
		return fmt.Errorf("a %s of %d bytes", e.Type, e.Size)
	case e.Offset < 0 || e.EndOffset < e.Offset || e.EndOffset > p.end:
		return fmt.Errorf("from byte %d to %d", e.Offset, e.EndOffset)
	case e.Size == 0:
		return nil
	}
	if err := checkDigest(e.Digest); err != nil {
		return err
	}
	first := Chunk{Offset: e.Offset, EndOffset: e.EndOffset, Size: e.ChunkSize, Digest: e.ChunkDigest}
	if e.ChunkSize == 0 && e.ChunkDigest == "" {
		first.Size, first.Digest = e.Size, e.Digest
	}
	return p.add(e, first, e.ChunkType)
}

// chunk adds an entry that is a chunk to that of its file.
func (p *tocParser) chunk(file, e *Entry) error {
	if len(file.Chunks) == 0 || file.Name != e.Name {
		return fmt.Errorf("not after its file")
	}
	last := &file.Chunks[len(file.Chunks)-1]
	if e.Offset < last.Offset || e.Offset > file.EndOffset {
		return fmt.Errorf("at byte %d", e.Offset)
	}
	last.EndOffset = e.Offset
	return p.add(file, Chunk{
		Offset: e.Offset, EndOffset: file.EndOffset, FileOffset: e.ChunkOffset, Size: e.ChunkSize, Digest: e.ChunkDigest,
	}, e.ChunkType)
}

func (p *tocParser) add(file *Entry, c Chunk, kind string) error {
	next := int64(0)
	if n := len(file.Chunks); n > 0 {
		next = file.Chunks[n-1].FileOffset + file.Chunks[n-1].Size
	}
	if c.FileOffset != next || c.Size <= 0 || c.Size > file.Size-next {
		return fmt.Errorf("%d bytes at %d of %d, where %d is next", c.Size, c.FileOffset, file.Size, next)
	}
	switch kind {
	case "":
	case "zeros":
		c.Zeros = true
	default:
		return fmt.Errorf("chunk type %q", kind)
	}
	if err := checkDigest(c.Digest); err != nil {
		return err
	}
	file.Chunks = append(file.Chunks, c)
	return nil
}

// finish appends an entry whose chunks are all there.
func (p *tocParser) finish(file *Entry) error {
	if file.Type == "" {
		return nil
	}
	if n := len(file.Chunks); n > 0 {
		if end := file.Chunks[n-1].FileOffset + file.Chunks[n-1].Size; end != file.Size {
			return fmt.Errorf("entry %q: chunks of %d bytes instead of %d", file.Name, end, file.Size)
		}
	}
	p.toc.Entries = append(p.toc.Entries, *file)
	return nil
}

func checkDigest(s string) error {
	digits, ok := strings.CutPrefix(s, "sha256:")
	if b, err := hex.DecodeString(digits); !ok || err != nil || len(b) != 32 || strings.ToLower(digits) != digits {
		return fmt.Errorf("digest %q", s)
	}
	return nil
}
