package tardiff_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"github.com/go-composefs/composefs/oci/tardiff"
)

func TestOperations(t *testing.T) {
	long := strings.Repeat("0123456789", 20_000)
	old := files(map[string]string{"etc/a": "hello world", "etc/long": long, "empty": ""})
	for _, test := range []struct {
		name string
		ops  []operation
		want string
	}{
		{"nothing", nil, ""},
		{"data", []operation{data("abc"), data(""), data("def")}, "abcdef"},
		{"copy", []operation{open("etc/a"), copied(5), copied(0), copied(6)}, "hello world"},
		{"seek", []operation{open("etc/a"), seek(6), copied(5), seek(0), copied(1), seek(11), copied(0)}, "worldh"},
		{"add wraps around", []operation{open("etc/a"), add("\x01\xff\x00")}, "idl"},
		{"add moves on", []operation{open("etc/a"), add("\x00"), copied(2), add("\x00\x01"), seek(1), add("\x02")}, "hellpg"},
		{"open starts again", []operation{open("etc/a"), copied(3), open("etc/a"), copied(3), open("empty"), open("etc/a"), copied(1)}, "helhelh"},
		{"upwards stays beneath the root", []operation{open("../../etc/./x/../a"), copied(1), open("/etc//a"), copied(2)}, "hhe"},
		{"more than a buffer", []operation{open("etc/long"), copied(200_000), seek(0), add(strings.Repeat("\x01", 200_000)), data(long)}, long + strings.NewReplacer(
			"0", "1", "1", "2", "2", "3", "3", "4", "4", "5", "5", "6", "6", "7", "7", "8", "8", "9", "9", ":").Replace(long) + long},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := apply(t, delta(t, test.ops...), old)
			if err != nil || got != test.want {
				t.Errorf("%d bytes, error %v; want %d bytes", len(got), err, len(test.want))
			}
			var slow bytes.Buffer
			err = tardiff.Apply(t.Context(), iotest.OneByteReader(bytes.NewReader(delta(t, test.ops...))), old, &slow, tardiff.ApplyOptions{})
			if err != nil || slow.String() != test.want {
				t.Errorf("byte by byte: %d bytes, error %v", slow.Len(), err)
			}
		})
	}
}

// Bytes that carry must not reach their neighbours, whatever the alignment.
func TestAddOfAllBytes(t *testing.T) {
	var source, more, want []byte
	for a := range 256 {
		for b := range 256 {
			source, more, want = append(source, byte(a)), append(more, byte(b)), append(want, byte(a+b))
		}
	}
	for shift := range 9 {
		got, err := apply(t, delta(t, open("f"), seek(uint64(shift)), add(string(more[shift:]))), files(map[string]string{"f": string(source)}))
		if err != nil || got != string(want[shift:]) {
			t.Errorf("from byte %d: wrong sum, error %v", shift, err)
		}
	}
}

func TestHostileDeltas(t *testing.T) {
	old := files(map[string]string{"etc/a": "hello world"})
	huge := uint64(1) << 63
	for name, test := range map[string]struct {
		delta []byte
		want  error
		text  string // what the error is, if it is not empty
	}{
		"empty":                {nil, tardiff.ErrFormat, ""},
		"a part of the magic":  {[]byte(magic[:7]), tardiff.ErrFormat, ""},
		"another magic":        {[]byte("tardiff\nmore"), tardiff.ErrFormat, ""},
		"version 3":            {[]byte("tardf3\n\x00more"), tardiff.ErrUnsupported, ""},
		"only the magic":       {[]byte(magic), tardiff.ErrFormat, "delta: operation 0 at byte 0, byte 0 of the tar: not a tar-diff, or a broken one: it is cut short"},
		"no zstd":              {[]byte(magic + "this is no zstd frame"), tardiff.ErrFormat, ""},
		"zstd, then none":      {append(delta(t, data("a")), "more"...), tardiff.ErrFormat, ""},
		"unknown operation":    {delta(t, operation{5, 0, ""}), tardiff.ErrFormat, ""},
		"operation cut short":  {pack(t, []byte{0}), tardiff.ErrFormat, ""},
		"size cut short":       {pack(t, []byte{0, 0x80}), tardiff.ErrFormat, ""},
		"size of 70 bits":      {pack(t, append([]byte{0}, bytes.Repeat([]byte{0xff}, 10)...)), tardiff.ErrFormat, ""},
		"data cut short":       {pack(t, []byte{0, 9, 'a'}), tardiff.ErrFormat, ""},
		"path cut short":       {pack(t, []byte{1, 9, 'a'}), tardiff.ErrFormat, ""},
		"add cut short":        {delta(t, open("etc/a"), operation{3, 4, "a"}), tardiff.ErrFormat, ""},
		"no path":              {delta(t, open("")), tardiff.ErrFormat, ""},
		"path of the root":     {delta(t, open("../..")), tardiff.ErrFormat, ""},
		"path with a zero":     {delta(t, open("etc/a\x00b")), tardiff.ErrFormat, ""},
		"long path":            {delta(t, open(strings.Repeat("p", 4097))), tardiff.ErrLimit, ""},
		"endless path":         {delta(t, operation{1, huge, ""}), tardiff.ErrLimit, ""},
		"nothing is there":     {delta(t, data("x"), open("etc/b")), tardiff.ErrSource, `delta: open 1 at byte 3, byte 1 of the tar, source "etc/b": not the image that the delta was made for: open etc/b: file does not exist`},
		"a directory":          {delta(t, open("etc")), tardiff.ErrSource, ""},
		"copy without a file":  {delta(t, copied(1)), tardiff.ErrFormat, ""},
		"seek without a file":  {delta(t, seek(0)), tardiff.ErrFormat, ""},
		"add without a file":   {delta(t, add("a")), tardiff.ErrFormat, ""},
		"seek behind the end":  {delta(t, open("etc/a"), seek(12)), tardiff.ErrSource, ""},
		"seek far":             {delta(t, open("etc/a"), seek(huge)), tardiff.ErrSource, ""},
		"seek to -1":           {delta(t, open("etc/a"), seek(1<<64-1)), tardiff.ErrSource, ""},
		"copy behind the end":  {delta(t, open("etc/a"), copied(12)), tardiff.ErrSource, `delta: copy 1 at byte 7, byte 0 of the tar, source "etc/a": not the image that the delta was made for: 12 bytes wanted from byte 0 of 11`},
		"copy far":             {delta(t, open("etc/a"), copied(huge)), tardiff.ErrLimit, ""},
		"copy of -1 bytes":     {delta(t, open("etc/a"), copied(1<<64-1)), tardiff.ErrLimit, ""},
		"add behind the end":   {delta(t, open("etc/a"), seek(10), add("aa")), tardiff.ErrSource, ""},
		"add of too much":      {delta(t, open("etc/a"), operation{3, 100<<20 + 1, ""}), tardiff.ErrLimit, ""},
		"data of -1 bytes":     {delta(t, operation{0, 1<<64 - 1, ""}), tardiff.ErrLimit, ""},
		"a large tar":          {delta(t, data(strings.Repeat("x", 1<<20)), data("x")), tardiff.ErrLimit, "delta: data 1 at byte 1048580, byte 1048576 of the tar: delta beyond the limits: the tar would be larger than 1048576 bytes"},
		"many operations":      {delta(t, make([]operation, 101)...), tardiff.ErrLimit, ""},
		"many seeks":           {delta(t, append([]operation{open("etc/a")}, bytesOf(seek(1), 100)...)...), tardiff.ErrLimit, ""},
		"a window of 1 GiB":    {[]byte(magic + "\x28\xb5\x2f\xfd\x00\xa0\x01\x00\x00"), tardiff.ErrLimit, ""},
		"a segment of 512 GiB": {[]byte(magic + "\x28\xb5\x2f\xfd\xe0\x00\x00\x00\x00\x80\x00\x00\x00\x01\x00\x00"), tardiff.ErrLimit, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := apply(t, test.delta, old)
			if !errors.Is(err, test.want) || test.text != "" && err.Error() != test.text {
				t.Errorf("error %v", err)
			}
		})
	}
}

func bytesOf(o operation, n int) []operation {
	list := make([]operation, n)
	for i := range list {
		list[i] = o
	}
	return list
}

// A delta that was cut anywhere is an error: zstd frames have an end, and so have operations.
func TestDeltaCutShort(t *testing.T) {
	whole := delta(t, open("etc/a"), copied(4), data("some text that is not in the file"), add("abc"))
	for n := range whole {
		if _, err := apply(t, whole[:n], files(map[string]string{"etc/a": "hello world"})); !errors.Is(err, tardiff.ErrFormat) {
			t.Errorf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func TestWhoFailed(t *testing.T) {
	broken := errors.New("disk broken")
	d := delta(t, open("etc/a"), copied(4), data("abc"))
	old := files(map[string]string{"etc/a": "hello world"})
	var op *tardiff.OpError

	err := tardiff.Apply(t.Context(), bytes.NewReader(d), old, failing{broken}, tardiff.ApplyOptions{})
	if !errors.Is(err, broken) || errors.As(err, &op) {
		t.Errorf("writer: %v", err)
	}
	err = tardiff.Apply(t.Context(), io.MultiReader(bytes.NewReader(d[:12]), iotest.ErrReader(broken)), old, io.Discard, tardiff.ApplyOptions{})
	if !errors.Is(err, broken) || errors.Is(err, tardiff.ErrFormat) {
		t.Errorf("delta: %v", err)
	}
	err = tardiff.Apply(t.Context(), bytes.NewReader(d), brokenSource{open: broken}, io.Discard, tardiff.ApplyOptions{})
	if !errors.Is(err, broken) || errors.Is(err, tardiff.ErrSource) || !errors.As(err, &op) || op.Op != "open" {
		t.Errorf("open: %v", err)
	}
	err = tardiff.Apply(t.Context(), bytes.NewReader(d), brokenSource{read: broken}, io.Discard, tardiff.ApplyOptions{})
	if !errors.Is(err, broken) || !errors.As(err, &op) || op.Op != "copy" || op.Index != 1 || op.Path != "etc/a" {
		t.Errorf("read: %v", err)
	}
	err = tardiff.Apply(t.Context(), bytes.NewReader(d), brokenSource{read: io.EOF}, io.Discard, tardiff.ApplyOptions{})
	if !errors.Is(err, tardiff.ErrSource) {
		t.Errorf("file became shorter: %v", err)
	}
	err = tardiff.Apply(t.Context(), bytes.NewReader(d), brokenSource{closing: broken}, io.Discard, tardiff.ApplyOptions{})
	if !errors.Is(err, broken) {
		t.Errorf("close: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tardiff.Apply(ctx, bytes.NewReader(d), old, io.Discard, tardiff.ApplyOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

type brokenSource struct{ open, read, closing error }

func (s brokenSource) Open(string) (tardiff.File, error) {
	if s.open != nil {
		return nil, s.open
	}
	return s, nil
}

func (s brokenSource) Size() int64  { return 100 }
func (s brokenSource) Close() error { return s.closing }
func (s brokenSource) ReadAt(p []byte, _ int64) (int, error) {
	if s.read != nil {
		return 0, s.read
	}
	return len(p), nil
}

// Files are closed, also if the delta fails in the middle.
func TestFilesAreClosed(t *testing.T) {
	for name, ops := range map[string][]operation{
		"to the end":    {open("a"), copied(1), open("b"), copied(1)},
		"a seek fails":  {open("a"), open("b"), seek(1000)},
		"an open fails": {open("a"), open("")},
	} {
		s := &counting{}
		_, _ = apply(t, delta(t, ops...), s)
		if s.opened == 0 || s.closed != s.opened {
			t.Errorf("%s: %d opened, %d closed", name, s.opened, s.closed)
		}
	}
}

type counting struct{ opened, closed int }

func (s *counting) Open(string) (tardiff.File, error)     { s.opened++; return s, nil }
func (s *counting) Size() int64                           { return 10 }
func (s *counting) Close() error                          { s.closed++; return nil }
func (s *counting) ReadAt(p []byte, _ int64) (int, error) { return len(p), nil }

// A tar of a gigabyte that compresses to nothing must not be held.
func TestMemoryDoesNotGrowWithTheTar(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a gigabyte")
	}
	r, w := io.Pipe()
	go func() {
		_, _ = io.WriteString(w, magic)
		z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil {
			_ = w.CloseWithError(err)
			return
		}
		piece := encode(data(strings.Repeat("\x00", 1<<20)))
		for range 1024 {
			_, _ = z.Write(piece)
		}
		_ = w.CloseWithError(z.Close())
	}()
	var before, peak runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n := 0
	err := tardiff.Apply(t.Context(), r, files(nil), writerFunc(func(p []byte) (int, error) {
		if n%(256<<20) == 0 {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			peak.HeapAlloc = max(peak.HeapAlloc, now.HeapAlloc)
		}
		n += len(p)
		return len(p), nil
	}), tardiff.ApplyOptions{})
	if err != nil || n != 1<<30 {
		t.Fatalf("%d bytes, error %v", n, err)
	}
	if peak.HeapAlloc > before.HeapAlloc+128<<20 {
		t.Errorf("%d MiB of memory", (peak.HeapAlloc-before.HeapAlloc)>>20)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestFromFS(t *testing.T) {
	old := files(map[string]string{"etc/a": "hello"})
	for path, want := range map[string]error{"etc/b": fs.ErrNotExist, "/etc/a": fs.ErrInvalid, "../a": fs.ErrInvalid} {
		if _, err := old.Open(path); !errors.Is(err, want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	var got []tardiff.OldFile
	for f, err := range old.Files() {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, f)
	}
	if len(got) != 1 || got[0] != (tardiff.OldFile{Path: "etc/a", Size: 5}) {
		t.Errorf("files %+v", got)
	}
}
