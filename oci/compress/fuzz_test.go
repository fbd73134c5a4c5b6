package compress

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

// FuzzRecipe follows recipes that nobody made on purpose.
func FuzzRecipe(f *testing.F) {
	for _, open := range []string{"go 6", "pgzip -1", "zstd default by 1", "NewZstd", "NewZstdChunked", "none"} {
		plain := sampleTar(f, 1000)
		r, ok := probe(compressWith(f, encoders[open], plain), plain)
		if !ok {
			f.Fatal(open)
		}
		b, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"compressor":"go-gzip/1","level":6,"header":{"name":"\u1234"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ParseRecipe(text)
		if err != nil {
			if !errors.Is(err, ErrRecipe) && !errors.Is(err, ErrUnknown) {
				t.Error(err)
			}
			return
		}
		w, err := r.NewWriter(io.Discard)
		if err != nil {
			t.Fatalf("a recipe was read that cannot be followed: %v", err)
		}
		_, _ = w.Write([]byte("plain"))
		_ = w.Close()
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseRecipe(again); err != nil {
			t.Errorf("%s: %v", again, err)
		}
	})
}

// FuzzProber looks at blobs that nobody made on purpose. A recipe for one that is seen as a whole has to be right.
func FuzzProber(f *testing.F) {
	plain := sampleTar(f, 1000)[:2048]
	for _, open := range []string{"go with name and time", "pgzip 9", "zstd fastest by 1", "NewZstdChunked"} {
		p := plain
		if open == "NewZstdChunked" {
			p = make([]byte, 1024)
		}
		f.Add(compressWith(f, encoders[open], p), p)
	}
	f.Fuzz(func(t *testing.T, blob, plain []byte) {
		if r, ok := probe(blob, plain); ok && !bytes.Equal(compressWith(t, r.NewWriter, plain), blob) {
			t.Errorf("%+v makes another blob", r)
		}
	})
}

// FuzzTOC reads tables of contents that nobody made on purpose.
func FuzzTOC(f *testing.F) {
	for _, text := range hostileTOCs {
		f.Add([]byte(text))
	}
	f.Add([]byte(`{"version":1,"entries":[{"type":"reg","name":"a","size":5,"digest":"` + someDigest + `","offset":10,"endOffset":20,"chunkSize":2,"chunkDigest":"` + someDigest +
		`"},{"type":"chunk","name":"a","offset":15,"chunkOffset":2,"chunkSize":3,"chunkDigest":"` + someDigest + `","chunkType":"zeros"}],"tarSplitDigest":"` + someDigest + `"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		const end = 1000
		toc, err := parseTOC(text, end)
		if err != nil {
			if !errors.Is(err, ErrTOC) {
				t.Error(err)
			}
			return
		}
		for _, e := range toc.Entries {
			next, at := int64(0), e.Offset
			for _, c := range e.Chunks {
				if c.FileOffset != next || c.Size <= 0 || c.Offset != at || c.EndOffset < c.Offset || c.EndOffset > end {
					t.Errorf("%+v", e)
				}
				next, at = c.FileOffset+c.Size, c.EndOffset
			}
			if next != e.Size {
				t.Errorf("chunks of %d bytes: %+v", next, e)
			}
		}
	})
}

// FuzzReadTOC reads blobs that nobody made on purpose, by their footers.
func FuzzReadTOC(f *testing.F) {
	blob, _ := chunk(f, make([]byte, 1024), ChunkedOptions{})
	f.Add(blob)
	f.Add(blob[len(blob)-footerSize-skippableSize:])
	f.Fuzz(func(t *testing.T, blob []byte) {
		toc, err := ReadTOC(bytes.NewReader(blob), int64(len(blob)), nil)
		if err != nil {
			if !errors.Is(err, ErrTOC) && !errors.Is(err, ErrNoTOC) {
				t.Error(err)
			}
			return
		}
		if split, err := toc.TarSplit(bytes.NewReader(blob)); err == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(split, 1<<20))
			split.Close()
		}
	})
}

var someDigest = "sha256:" + strings.Repeat("0123456789abcdef", 4)

// hostileTOCs are refused.
var hostileTOCs = map[string]string{
	"no JSON":            `version`,
	"another version":    `{"version":2,"entries":[]}`,
	"no version":         `{"entries":[]}`,
	"entries twice":      `{"version":1,"entries":[],"entries":[]}`,
	"something follows":  `{"version":1,"entries":[]}{}`,
	"cut short":          `{"version":1,"entries":[{"type":"dir","name":"a"}`,
	"no list":            `{"version":1,"entries":{}}`,
	"unknown type":       `{"version":1,"entries":[{"type":"door","name":"a"}]}`,
	"no name":            `{"version":1,"entries":[{"type":"dir"}]}`,
	"negative size":      `{"version":1,"entries":[{"type":"reg","name":"a","size":-1}]}`,
	"directory of bytes": `{"version":1,"entries":[{"type":"dir","name":"a","size":1}]}`,
	"no digest":          `{"version":1,"entries":[{"type":"reg","name":"a","size":1,"offset":1,"endOffset":2}]}`,
	"beyond the content": `{"version":1,"entries":[{"type":"reg","name":"a","size":1,"offset":1,"endOffset":1001,"digest":"` + someDigest + `"}]}`,
	"backwards":          `{"version":1,"entries":[{"type":"reg","name":"a","size":1,"offset":9,"endOffset":8,"digest":"` + someDigest + `"}]}`,
	"negative offset":    `{"version":1,"entries":[{"type":"reg","name":"a","size":1,"offset":-9,"endOffset":8,"digest":"` + someDigest + `"}]}`,
	"chunk of nothing":   `{"version":1,"entries":[{"type":"chunk","name":"a","chunkSize":1}]}`,
	"chunk of a dir":     `{"version":1,"entries":[{"type":"dir","name":"a"},{"type":"chunk","name":"a","chunkSize":1}]}`,
	"chunks too short":   `{"version":1,"entries":[{"type":"reg","name":"a","size":5,"offset":1,"endOffset":9,"digest":"` + someDigest + `","chunkSize":2,"chunkDigest":"` + someDigest + `"}]}`,
	"chunk too long":     `{"version":1,"entries":[{"type":"reg","name":"a","size":5,"offset":1,"endOffset":9,"digest":"` + someDigest + `","chunkSize":6,"chunkDigest":"` + someDigest + `"}]}`,
	"chunk size of overflow": `{"version":1,"entries":[{"type":"reg","name":"a","size":5,"offset":1,"endOffset":9,"digest":"` + someDigest + `","chunkSize":2,"chunkDigest":"` + someDigest +
		`"},{"type":"chunk","name":"a","offset":2,"chunkOffset":2,"chunkSize":9223372036854775807,"chunkDigest":"` + someDigest + `"}]}`,
	"chunk behind its file": `{"version":1,"entries":[{"type":"reg","name":"a","size":5,"offset":1,"endOffset":9,"digest":"` + someDigest + `","chunkSize":2,"chunkDigest":"` + someDigest +
		`"},{"type":"chunk","name":"a","offset":10,"chunkOffset":2,"chunkSize":3,"chunkDigest":"` + someDigest + `"}]}`,
	"tar-split digest": `{"version":1,"entries":[],"tarSplitDigest":"sha256:00"}`,
}

func TestATableOfContentsThatLiesIsRefused(t *testing.T) {
	for name, text := range hostileTOCs {
		t.Run(name, func(t *testing.T) {
			if toc, err := parseTOC([]byte(text), 1000); !errors.Is(err, ErrTOC) {
				t.Errorf("%+v, %v", toc, err)
			}
		})
	}
}

func TestABlobWhoseTableIsNotTheAnnotatedOneIsRefused(t *testing.T) {
	blob, good := chunk(t, kindsTar(t), ChunkedOptions{})
	with := func(key, value string) map[string]string {
		m := map[string]string{}
		for k, v := range good {
			m[k] = v
		}
		if m[key] = value; value == "" {
			delete(m, key)
		}
		return m
	}
	for name, c := range map[string]struct {
		annotations map[string]string
		want        error
	}{
		"none":                  {map[string]string{}, ErrNoTOC},
		"no digest":             {with(AnnotationTOCDigest, ""), ErrNoTOC},
		"another digest":        {with(AnnotationTOCDigest, someDigest), ErrTOC},
		"no place":              {with(AnnotationTOC, ""), ErrTOC},
		"three numbers":         {with(AnnotationTOC, "1:2:3"), ErrTOC},
		"negative":              {with(AnnotationTOC, "-1:2:3:1"), ErrTOC},
		"too large":             {with(AnnotationTOC, "8:9223372036854775807:3:1"), ErrTOC},
		"behind the end":        {with(AnnotationTOC, "9223372036854775807:2:3:1"), ErrTOC},
		"another type":          {with(AnnotationTOC, "8:2:3:2"), ErrTOC},
		"no tar-split":          {with(AnnotationTarSplit, ""), ErrTOC},
		"tar-split too large":   {with(AnnotationTarSplit, "8:9223372036854775807:1"), ErrTOC},
		"tar-split of overflow": {with(AnnotationTarSplit, "8:92233720368547758080:1"), ErrTOC},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ReadTOC(bytes.NewReader(blob), int64(len(blob)), c.annotations); !errors.Is(err, c.want) {
				t.Errorf("%v", err)
			}
		})
	}
	toc, err := ReadTOC(bytes.NewReader(blob), int64(len(blob)), with(AnnotationTarSplit, "8:20:100"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := toc.TarSplit(bytes.NewReader(blob)); !errors.Is(err, ErrTOC) {
		t.Errorf("another tar-split: %v", err)
	}
}

func TestALevelThatDoesNotExistIsRefused(t *testing.T) {
	for _, level := range []int{-2, 0, 10, 23} {
		if _, err := NewGzip(io.Discard, level, 0); !errors.Is(err, ErrLevel) {
			t.Errorf("gzip %d: %v", level, err)
		}
		if level == 10 {
			continue
		}
		if _, err := NewZstd(io.Discard, level, 0); !errors.Is(err, ErrLevel) {
			t.Errorf("zstd %d: %v", level, err)
		}
	}
}
