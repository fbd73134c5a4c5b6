package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/splitstream"
)

// splitTar takes a tar apart, without a tree.
func splitTar(t testing.TB, archive []byte, store *memory) *splitstream.Reader {
	t.Helper()
	w := splitstream.NewWriter(splitstream.WriterOptions{ContentType: splitstream.Layer})
	defer w.Close()
	l, err := layer.Read(t.Context(), bytes.NewReader(archive), layer.Options{Store: store, Stream: w, NoTree: true})
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(archive); l.Root != nil || l.Size != int64(len(archive)) || !bytes.Equal(l.DiffID, sum[:]) {
		t.Errorf("a layer of %d bytes, tree %v", l.Size, l.Root)
	}
	var file bytes.Buffer
	if _, err := w.Finish(&file); err != nil {
		t.Fatal(err)
	}
	return openStream(t, file.Bytes())
}

func openStream(t testing.TB, file []byte) *splitstream.Reader {
	t.Helper()
	s, err := splitstream.Open(bytes.NewReader(file), int64(len(file)), splitstream.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// entriesOf is how archive/tar reads an archive.
func entriesOf(t *testing.T, archive []byte) (list []layer.Entry) {
	t.Helper()
	source := bytes.NewReader(archive)
	r := tar.NewReader(source)
	for end := int64(0); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		e := layer.Entry{Header: h, Offset: end}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		end = (source.Size() - int64(source.Len()) + 511) &^ 511
		switch {
		case h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeGNUSparse:
		case len(content) > layer.External:
			if e.Digest, err = fsverity.Sum(fsverity.SHA256, content); err != nil {
				t.Fatal(err)
			}
		default:
			e.Content = content
		}
		list = append(list, e)
	}
}

func collect(t *testing.T, s *splitstream.Reader, opts layer.EntriesOptions) (list []layer.Entry) {
	t.Helper()
	for e, err := range layer.Entries(t.Context(), s, opts) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, *e)
	}
	return list
}

// wantEntries holds the entries of a tar that was split against those that it has.
func wantEntries(t *testing.T, archive []byte) {
	t.Helper()
	store := &memory{}
	got := collect(t, splitTar(t, archive, store), layer.EntriesOptions{Store: store})
	digests := cmp.Comparer(func(a, b fsverity.Digest) bool { return a == b })
	if diff := cmp.Diff(entriesOf(t, archive), got, digests); diff != "" {
		t.Error(diff)
	}
}

func TestEntriesAreThoseOfTheTar(t *testing.T) {
	long := strings.Repeat("long/", 60)
	entries := append(someFiles(),
		dir("d", 0o755), symlink("l", long), link("h", "elsewhere/"+long), file(long+"f", strings.Repeat("x", 1000)), file(".wh.x", ""),
		entry{tar.Header{Name: "x", Typeflag: tar.TypeReg, Format: tar.FormatPAX, PAXRecords: map[string]string{
			"SCHILY.xattr.user.a": strings.Repeat("v\x00", 100_000), "mtime": "12.5",
		}}, strings.Repeat("y", 65)},
		entry{tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, ""},
		file("last", strings.Repeat("z", 512*3)),
	)
	wantEntries(t, makeTar(t, entries...))
	wantEntries(t, append(makeTar(t, file("a", strings.Repeat("x", 100))), bytes.Repeat([]byte("junk"), 100_000)...))
}

// A hard link to another layer, names twice and a file below a symlink are the business of those who put
// layers together.
func TestWithoutATreeEntriesMayNeedOtherLayers(t *testing.T) {
	archive := makeTar(t, link("a", "b"), symlink("s", "d"), file("s/f", "x"), file("../up", ""), dir("s", 0o755))
	if got := len(collect(t, splitTar(t, archive, &memory{}), layer.EntriesOptions{})); got != 5 {
		t.Errorf("%d entries", got)
	}
}

func TestRefusalsWithoutATree(t *testing.T) {
	small := makeTar(t, file("a", strings.Repeat("x", 5000)))
	// archive/tar reads extended headers that follow each other as if they were one.
	extended := makeTar(t, entry{tar.Header{Name: "a", Typeflag: tar.TypeReg, Format: tar.FormatPAX, PAXRecords: map[string]string{
		"comment": strings.Repeat("c", 1<<19),
	}}, ""})
	extended = extended[:512+1<<19+512]
	for name, test := range map[string]struct {
		archive []byte
		opts    layer.Options
		want    error
		text    string
	}{
		"long name": {
			makeTar(t, file(strings.Repeat("n/", 2500)+"f", "")),
			layer.Options{},
			layer.ErrEntry, "",
		},
		"long link": {makeTar(t, symlink("a", strings.Repeat("n", 5000))), layer.Options{}, layer.ErrEntry, ""},
		"many":      {makeTar(t, file("a", ""), file("b", "")), layer.Options{MaxEntries: 1}, layer.ErrLimit, ""},
		"large": {
			small,
			layer.Options{MaxSize: int64(len(small)) - 1},
			layer.ErrLimit, fmt.Sprintf("entry at byte 5632: tar beyond the limits: a tar of more than %d bytes", len(small)-1),
		},
		"large file": {
			small,
			layer.Options{MaxSize: 1024},
			layer.ErrLimit, `entry "a" at byte 0: tar beyond the limits: a tar of more than 1024 bytes`,
		},
		"compressed bomb": {
			compressed(t, make([]byte, 10<<20))["zstd"],
			layer.Options{MaxSize: 1 << 20},
			layer.ErrLimit, "",
		},
		"headers without end": {
			bytes.Repeat(extended, 100),
			layer.Options{},
			layer.ErrLimit, "entry at byte 0: tar beyond the limits: headers of more than 8388608 bytes",
		},
		"compressed": {compressed(t, small)["gzip"], layer.Options{Plain: true}, layer.ErrFormat, ""},
		"hash":       {small, layer.Options{Hash: crypto.MD5}, nil, "read tar: its hash cannot be MD5"},
	} {
		t.Run(name, func(t *testing.T) {
			w := splitstream.NewWriter(splitstream.WriterOptions{ContentType: splitstream.Layer})
			defer w.Close()
			test.opts.Store, test.opts.Stream, test.opts.NoTree = &memory{}, w, true
			_, err := layer.Read(t.Context(), bytes.NewReader(test.archive), test.opts)
			if err == nil || test.want != nil && !errors.Is(err, test.want) || test.text != "" && err.Error() != test.text {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, err := layer.Read(t.Context(), bytes.NewReader(small), layer.Options{Store: &memory{}, MaxSize: int64(len(small)), Plain: true}); err != nil {
		t.Errorf("a tar as large as allowed: %v", err)
	}
}

func TestHashOfADiffID(t *testing.T) {
	archive := makeTar(t, file("a", "x"))
	l, err := layer.Read(t.Context(), bytes.NewReader(archive), layer.Options{Store: &memory{}, NoTree: true, Hash: crypto.SHA512})
	if err != nil {
		t.Fatal(err)
	}
	if want := sha512.Sum512(archive); !bytes.Equal(l.DiffID, want[:]) {
		t.Errorf("%x, want %x", l.DiffID, want)
	}
}

// stream makes a splitstream of inline bytes and objects, as a hostile one may have them.
func stream(t *testing.T, chunks ...any) *splitstream.Reader {
	t.Helper()
	w := splitstream.NewWriter(splitstream.WriterOptions{ContentType: splitstream.Layer})
	defer w.Close()
	digest, err := fsverity.Sum(fsverity.SHA256, []byte("object"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range chunks {
		switch c := c.(type) {
		case []byte:
			_, _ = w.Write(c)
		case int:
			w.Object(digest, int64(c))
		}
	}
	var file bytes.Buffer
	if _, err := w.Finish(&file); err != nil {
		t.Fatal(err)
	}
	return openStream(t, file.Bytes())
}

func TestStreamsThatAreNoTarOfObjects(t *testing.T) {
	large := makeTar(t, file("a", strings.Repeat("x", 1000)))
	small := makeTar(t, file("a", "x"))
	after := makeTar(t)
	for name, test := range map[string]struct {
		stream *splitstream.Reader
		want   error
	}{
		"object of another size":    {stream(t, large[:512], 999, large[1512:]), layer.ErrFormat},
		"object beyond the end":     {stream(t, large[:512], 10), layer.ErrFormat},
		"no object":                 {stream(t, large[:512]), layer.ErrFormat},
		"object as a header":        {stream(t, 512, after), layer.ErrFormat},
		"object of a small file":    {stream(t, small[:512], 1, small[513:]), layer.ErrFormat},
		"object behind the end":     {stream(t, small, 512), layer.ErrFormat},
		"padding is missing":        {stream(t, large[:512], 1000, after), layer.ErrFormat},
		"inline, and without store": {stream(t, large), layer.ErrNoStore},
		"text":                      {stream(t, bytes.Repeat([]byte("no tar"), 1000)), layer.ErrFormat},
		"object twice":              {stream(t, large[:512], 1000, 1000, large[1512:]), layer.ErrFormat},
		"cut short in a header":     {stream(t, large[:300]), layer.ErrFormat},
	} {
		t.Run(name, func(t *testing.T) {
			var last error
			for _, err := range layer.Entries(t.Context(), test.stream, layer.EntriesOptions{}) {
				if last != nil {
					t.Error("more after an error")
				}
				last = err
			}
			if !errors.Is(last, test.want) {
				t.Errorf("error %v, want %v", last, test.want)
			}
		})
	}
}

func TestEntriesEnd(t *testing.T) {
	store := &memory{}
	s := splitTar(t, makeTar(t, someFiles()...), store)
	for _, err := range layer.Entries(t.Context(), s, layer.EntriesOptions{}) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for _, err := range layer.Entries(ctx, s, layer.EntriesOptions{}) {
		if n++; n > 1 && !errors.Is(err, context.Canceled) {
			t.Errorf("entry %d, error %v", n, err)
		}
		cancel()
	}
	if n != 2 {
		t.Errorf("%d entries", n)
	}
}

// lastFile takes the measure of the heap when the last of a number of files is there.
type lastFile struct {
	left int
	heap uint64
}

func (l *lastFile) Add(files int, _ int64) {
	if l.left -= files; l.left == 0 {
		l.heap = heap()
	}
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func TestMemoryDoesNotGrowWithEntries(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	const files = 60_000
	r, pipe := io.Pipe()
	go func() {
		w := tar.NewWriter(pipe)
		for i := range files {
			if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("%d/%d", i%100, i), Typeflag: tar.TypeReg, Uname: "somebody"}); err != nil {
				pipe.CloseWithError(err)
				return
			}
		}
		pipe.CloseWithError(w.Close())
	}()
	w := splitstream.NewWriter(splitstream.WriterOptions{ContentType: splitstream.Layer})
	defer w.Close()
	before, last := heap(), &lastFile{left: files}
	_, err := layer.Read(t.Context(), r, layer.Options{Store: &memory{}, Stream: w, NoTree: true, Progress: last})
	if err != nil {
		t.Fatal(err)
	}
	// A tree would have at least 200 bytes for each.
	if grown := int64(last.heap) - int64(before); last.heap == 0 || grown > files*100 {
		t.Errorf("splitting %d files took %d bytes", files, grown)
	}
	var file bytes.Buffer
	if _, err := w.Finish(&file); err != nil {
		t.Fatal(err)
	}
	s := openStream(t, file.Bytes())
	before, last = heap(), &lastFile{left: files}
	for _, err := range layer.Entries(t.Context(), s, layer.EntriesOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		last.Add(1, 0)
	}
	if grown := int64(last.heap) - int64(before); last.heap == 0 || grown > files*100 {
		t.Errorf("listing %d files took %d bytes", files, grown)
	}
}
