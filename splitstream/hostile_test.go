package splitstream_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/splitstream"
)

// frame returns content as a zstd frame of raw blocks (RFC 8878, section 3.1.1).
func frame(content string) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x58} // a window of 2 MiB
	for {
		n := min(len(content), 100_000)
		header := uint32(n) << 3
		if n == len(content) {
			header |= 1
		}
		b = append(b, byte(header), byte(header>>8), byte(header>>16))
		b = append(b, content[:n]...)
		if content = content[n:]; content == "" {
			return b
		}
	}
}

// bomb returns a zstd frame of blocks times 128 KiB of the byte c: four bytes for each.
func bomb(c byte, blocks int) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x58}
	for i := range blocks {
		header := uint32(128<<10)<<3 | 1<<1
		if i == blocks-1 {
			header |= 1
		}
		b = append(b, byte(header), byte(header>>8), byte(header>>16), c)
	}
	return b
}

// words returns chunk heads.
func words(ns ...int64) string {
	var b []byte
	for _, n := range ns {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return string(b)
}

// A raw splitstream is one of which every part can be wrong.
type raw struct {
	streamRefs, objectRefs int // SHA-256 digests
	named, stream          []byte
	size                   uint64
	edit                   func([]byte) []byte
}

func (f raw) file() []byte {
	le := binary.LittleEndian
	at := uint64(112)
	place := func(b []byte, n int) []byte {
		at += uint64(n)
		return le.AppendUint64(le.AppendUint64(b, at-uint64(n)), at)
	}
	if f.named == nil {
		f.named = frame("")
	}
	if f.stream == nil {
		f.stream = frame("")
	}
	b := append([]byte("SplitStream"), 0, 0, 0, 1, 12)
	b = le.AppendUint64(le.AppendUint64(b, 32), 112)
	b = place(b, 32*f.streamRefs)
	b = place(b, 32*f.objectRefs)
	b = place(b, len(f.stream))
	b = place(b, len(f.named))
	b = le.AppendUint64(b, uint64(splitstream.Layer))
	b = le.AppendUint64(b, f.size)
	b = append(b, make([]byte, 32*f.streamRefs)...)
	for i := range f.objectRefs {
		b = append(b, bytes.Repeat([]byte{byte(i + 1)}, 32)...)
	}
	b = append(b, f.stream...)
	b = append(b, f.named...)
	if f.edit != nil {
		b = f.edit(b)
	}
	return b
}

// poke returns an edit that sets 64 bits.
func poke(offset int, v uint64) func([]byte) []byte {
	return func(b []byte) []byte {
		binary.LittleEndian.PutUint64(b[offset:], v)
		return b
	}
}

func set(offset int, v byte) func([]byte) []byte {
	return func(b []byte) []byte { b[offset] = v; return b }
}

func TestFilesThatOpenRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		raw  raw
		want error
		text string
	}{
		{"empty file", raw{edit: func([]byte) []byte { return nil }}, splitstream.ErrCorrupt, "header at byte 0: a file of 0 bytes"},
		{"no magic", raw{edit: set(3, 'x')}, splitstream.ErrCorrupt, "no magic"},
		{"version 1", raw{edit: set(11, 1)}, splitstream.ErrUnsupported, "byte 11: version 1"},
		{"hash 3", raw{edit: set(14, 3)}, splitstream.ErrUnsupported, "byte 14: fs-verity hash 3"},
		{"hash 0", raw{edit: set(14, 0)}, splitstream.ErrUnsupported, "byte 14: fs-verity hash 0"},
		{"blocks of 64 KiB", raw{edit: set(15, 16)}, splitstream.ErrUnsupported, "byte 15: fs-verity blocks of 2^16 bytes"},
		{"short info", raw{edit: poke(24, 111)}, splitstream.ErrCorrupt, "info has 79 bytes"},
		{"info beyond the end", raw{edit: poke(24, 1<<40)}, splitstream.ErrCorrupt, "place of info at byte 16"},
		{"info backwards", raw{edit: poke(24, 31)}, splitstream.ErrCorrupt, "32 to 31 in"},
		{"info over the header", raw{edit: poke(16, 8)}, splitstream.ErrCorrupt, ""},
		{"section of 2^64 bytes", raw{edit: poke(56, math.MaxUint64)}, splitstream.ErrCorrupt, "place of object_refs at byte 48"},
		{"section backwards", raw{edit: poke(32, 113)}, splitstream.ErrCorrupt, "place of stream_refs at byte 32"},
		{"stream in the refs", raw{streamRefs: 2, edit: poke(64, 140)}, splitstream.ErrCorrupt, "overlap at byte 140"},
		{"section in the header", raw{objectRefs: 1, edit: poke(48, 16)}, splitstream.ErrCorrupt, "overlap"},
		{"part of a digest", raw{objectRefs: 2, edit: poke(56, 112+63)}, splitstream.ErrCorrupt, "object_refs at byte 112: 63 bytes"},
		{"negative stream size", raw{size: 1 << 63}, splitstream.ErrCorrupt, "info at byte 104"},
		{"no named refs frame", raw{edit: poke(88, 112+9)}, splitstream.ErrCorrupt, "named_refs at byte 121: no zstd frame"},
		{"named refs not compressed", raw{named: []byte("0:name\x00")}, splitstream.ErrCorrupt, "named_refs"},
		{"bytes after the frame", raw{named: append(frame(""), 'x')}, splitstream.ErrCorrupt, "named_refs"},
		{"index without ref", raw{streamRefs: 1, named: frame("0:a\x001:b\x00")}, splitstream.ErrCorrupt, "decompressed byte 4: index 1 of 1"},
		{"index of 2^64", raw{streamRefs: 1, named: frame("18446744073709551616:b\x00")}, splitstream.ErrCorrupt, "no number"},
		{"negative index", raw{streamRefs: 1, named: frame("-1:b\x00")}, splitstream.ErrCorrupt, "no number"},
		{"record without colon", raw{streamRefs: 1, named: frame("0\x00")}, splitstream.ErrCorrupt, "colon"},
		{"record without end", raw{streamRefs: 1, named: frame("0:a\x000:b")}, splitstream.ErrCorrupt, "decompressed byte 4: no NUL"},
		{"name that is not UTF-8", raw{streamRefs: 1, named: frame("0:\xff\x00")}, splitstream.ErrCorrupt, "UTF-8"},
		{"name twice", raw{streamRefs: 1, named: frame("0:a\x000:b\x000:a\x00")}, splitstream.ErrCorrupt, `the name "a" twice`},
		{"endless name", raw{streamRefs: 1, named: bomb('0', 8192)}, splitstream.ErrUnsupported, "bytes of named_refs"},
		{"too many names", raw{streamRefs: 1, named: bomb(0, 32)}, splitstream.ErrUnsupported, "4194304 named refs, the limit is 65536"},
		{"window of 1 GiB", raw{edit: func(b []byte) []byte { b[112+9+5] = 0xa0; return b }}, splitstream.ErrUnsupported, "window"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := test.raw.file()
			_, err := splitstream.Open(bytes.NewReader(file), int64(len(file)), splitstream.ReaderOptions{})
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want %v with %q", err, test.want, test.text)
			}
		})
	}
}

func TestStreamsThatChunksRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		raw  raw
		text string
	}{
		{"nothing", raw{edit: poke(72, 112)}, "stream at byte 112: no zstd frame"},
		{"half a head", raw{size: 1, stream: frame("\xff\xff\xff")}, "decompressed byte 0: the stream ends inside a chunk"},
		{"inline cut short", raw{size: 5, stream: frame(words(-5) + "abcd")}, "decompressed byte 12: the stream ends inside a chunk"},
		{"inline beyond the size", raw{size: 4, stream: frame(words(-5) + "abcde")}, "beyond the stream's size of 4"},
		{"second inline beyond the size", raw{size: 4, stream: frame(words(-3) + "abc" + words(-2) + "de")}, "byte 11: inline bytes beyond"},
		{"smallest integer", raw{size: math.MaxInt64, stream: frame(words(math.MinInt64))}, "beyond the stream's size"},
		{"largest integer", raw{size: 1, objectRefs: 1, stream: frame(words(math.MaxInt64))}, "index 9223372036854775807 of 1"},
		{"index without ref", raw{size: 9, objectRefs: 2, stream: frame(words(0, 1, 2))}, "decompressed byte 16: index 2 of 2"},
		{"shorter than the size", raw{size: 4, stream: frame(words(-3) + "abc")}, "ends 1 bytes before its size of 4"},
		{"endless objects", raw{size: 1000, objectRefs: 1, stream: bomb(0, 8192)}, "more chunks than a stream of 1000 bytes"},
		{"bytes after the frame", raw{size: 1, stream: append(frame(words(-1)+"a"), 1)}, "decompress"},
		{"frame of no end", raw{size: 1, stream: frame(words(-1) + "a")[:12]}, "decompress"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := open(t, test.raw.file(), splitstream.ReaderOptions{})
			var got error
			for _, err := range r.Chunks() {
				if got != nil {
					t.Fatal("a chunk after an error")
				}
				got = err
			}
			var corrupt *splitstream.CorruptError
			if !errors.As(got, &corrupt) || corrupt.Section != "stream" || !strings.Contains(got.Error(), test.text) {
				t.Errorf("error %v, want %q", got, test.text)
			}
		})
	}
}

func TestObjectsOfTheWrongSizeAreNamed(t *testing.T) {
	d := digest(t, strings.Repeat("01", 32))
	full := raw{size: 12, objectRefs: 1, stream: frame(words(-2) + "ab" + words(0) + words(-2) + "cd")}.file()
	for content, want := range map[string]string{
		"1234567":                  "the stream has 11 bytes, its size is given as 12",
		"123456789":                "at byte 11: corrupt splitstream: stream at byte 144: objects and inline bytes",
		"1234567890":               "at byte 12: corrupt splitstream: stream at byte 144: objects and inline bytes",
		"12345678901":              "at byte 2: object 01010101",
		strings.Repeat("1", 1<<20): "at byte 2: object 01010101",
	} {
		r := open(t, full, splitstream.ReaderOptions{})
		var b bytes.Buffer
		n, err := r.WriteTo(&b, store{d: []byte(content)}.open)
		if n != int64(b.Len()) || n > 12 {
			t.Errorf("object of %d bytes: says %d bytes, wrote %d", len(content), n, b.Len())
		}
		if !errors.Is(err, splitstream.ErrCorrupt) || !strings.Contains(err.Error(), want) {
			t.Errorf("object of %d bytes: error %v, want %q", len(content), err, want)
		}
	}
	if _, err := open(t, full, splitstream.ReaderOptions{}).WriteTo(io.Discard, store{}.open); !errors.Is(err, errNoObject) ||
		!strings.Contains(err.Error(), d.String()) || errors.Is(err, splitstream.ErrCorrupt) {
		t.Errorf("missing object: %v", err)
	}
}

func TestFilesOfAnotherKindAreRefused(t *testing.T) {
	file := raw{size: 3, stream: frame(words(-3) + "abc")}.file()
	for _, test := range []struct {
		opts splitstream.ReaderOptions
		want error
	}{
		{splitstream.ReaderOptions{Algorithm: fsverity.SHA256, ContentType: splitstream.Layer, MaxSize: 3}, nil},
		{splitstream.ReaderOptions{Algorithm: fsverity.SHA512}, splitstream.ErrMismatch},
		{splitstream.ReaderOptions{ContentType: splitstream.Config}, splitstream.ErrMismatch},
		{splitstream.ReaderOptions{MaxSize: 2}, splitstream.ErrUnsupported},
	} {
		if _, err := splitstream.Open(bytes.NewReader(file), int64(len(file)), test.opts); !errors.Is(err, test.want) {
			t.Errorf("%+v: error %v, want %v", test.opts, err, test.want)
		}
	}
}

func TestSectionsMayLieAnywhere(t *testing.T) {
	f := raw{size: 1, objectRefs: 1, stream: frame(words(-1) + "a")}.file()
	// info moves to the end and grows, after a gap.
	le := binary.LittleEndian
	moved := append(bytes.Clone(f), "gap"...)
	le.PutUint64(moved[16:], uint64(len(moved)))
	moved = append(append(moved, f[32:112]...), "from a later version"...)
	le.PutUint64(moved[24:], uint64(len(moved)))
	copy(moved[32:112], bytes.Repeat([]byte{0xee}, 80))
	var b bytes.Buffer
	if _, err := open(t, moved, splitstream.ReaderOptions{}).WriteTo(&b, nil); err != nil || b.String() != "a" {
		t.Errorf("stream %q, %v", &b, err)
	}
}

func TestSmallFilesCannotTakeMuchMemory(t *testing.T) {
	read := func(file []byte) {
		r, err := splitstream.Open(bytes.NewReader(file), int64(len(file)), splitstream.ReaderOptions{})
		if err != nil {
			return
		}
		_, _ = r.WriteTo(io.Discard, store{}.open)
	}
	files := [][]byte{
		raw{size: math.MaxInt64, stream: append(frame(words(math.MinInt64+1)), bomb('x', 2048)...)}.file(),
		raw{streamRefs: 1, named: bomb('0', 8192)}.file(),
		raw{streamRefs: 1, named: bomb(0, 32)}.file(),
		raw{streamRefs: 1, named: frame(strings.Repeat("0:a\x00", 1<<16))}.file(),
	}
	for i, file := range files {
		read(file) // buffers that later calls use again
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		read(file)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 24<<20 {
			t.Errorf("file %d of %d bytes: %d allocated", i, len(file), got)
		}
	}
}

// errReaderAt is a file with bad blocks from an offset on.
type errReaderAt struct {
	io.ReaderAt
	from int64
}

func (r errReaderAt) ReadAt(p []byte, offset int64) (int, error) {
	if offset+int64(len(p)) > r.from {
		return 0, iotest.ErrTimeout
	}
	return r.ReaderAt.ReadAt(p, offset)
}

func TestFilesThatCannotBeReadAreNotCorrupt(t *testing.T) {
	const refs = 1000 // so that more than the first bytes are read by Open
	file := raw{size: 300_000, objectRefs: refs, stream: frame(words(-300_000) + strings.Repeat("a", 300_000))}.file()
	for _, from := range []int64{0, 100, 4096, 20_000, 200_000, int64(len(file)) - 1} {
		r, err := splitstream.Open(errReaderAt{bytes.NewReader(file), from}, int64(len(file)), splitstream.ReaderOptions{})
		if err == nil {
			_, err = r.WriteTo(io.Discard, nil)
		}
		if !errors.Is(err, iotest.ErrTimeout) || errors.Is(err, splitstream.ErrCorrupt) {
			t.Errorf("bad from byte %d: %v", from, err)
		}
	}
}

// sparse is a file that begins with some bytes and goes on with zeros.
type sparse []byte

func (s sparse) ReadAt(p []byte, offset int64) (int, error) {
	clear(p)
	if offset < int64(len(s)) {
		copy(p, s[offset:])
	}
	return len(p), nil
}

func TestLargeFilesCannotTakeMoreRefsThanTheLimit(t *testing.T) {
	const limit, far = 1 << 22, 1 << 30
	for _, n := range []uint64{limit, limit + 1} {
		file := raw{edit: func(b []byte) []byte { return poke(48, far)(poke(56, far+32*n)(b)) }}.file()
		r, err := splitstream.Open(sparse(file), 1<<40, splitstream.ReaderOptions{})
		if n > limit {
			if !errors.Is(err, splitstream.ErrUnsupported) || !strings.Contains(err.Error(), "4194305 object_refs, the limit is 4194304") {
				t.Errorf("%d refs: %v", n, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		count := uint64(0)
		for range r.References() {
			count++
		}
		if count != n {
			t.Errorf("%d refs, want %d", count, n)
		}
	}
}
