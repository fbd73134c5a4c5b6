package tardiff_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/go-composefs/composefs/oci/tardiff"
)

type entry struct {
	tar.Header
	content string
}

func file(name, content string) entry {
	return entry{tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}, content}
}

func makeTar(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tarOf(b []byte) tardiff.Tar { return tardiff.TarOf(bytes.NewReader(b), int64(len(b))) }

// create makes a delta, and holds it to making the tar.
func create(t testing.TB, old tardiff.OldFiles, fresh []byte, opts tardiff.CreateOptions) ([]byte, tardiff.Stats) {
	t.Helper()
	var delta, back bytes.Buffer
	stats, err := tardiff.Create(t.Context(), old, tarOf(fresh), &delta, opts)
	if err != nil {
		t.Fatal(err)
	}
	err = tardiff.Apply(t.Context(), bytes.NewReader(delta.Bytes()), old, &back, tardiff.ApplyOptions{MaxOutput: int64(len(fresh))})
	if err != nil || !bytes.Equal(back.Bytes(), fresh) {
		t.Fatalf("the delta makes %d bytes, not the %d of the tar; error %v", back.Len(), len(fresh), err)
	}
	if stats.DiffID != sha256.Sum256(fresh) || stats.TarSize != int64(len(fresh)) || stats.DeltaSize != int64(delta.Len()) ||
		stats.Copied+stats.Added+stats.Data != stats.TarSize {
		t.Errorf("%+v for a tar of %d bytes and a delta of %d", stats, len(fresh), delta.Len())
	}
	return delta.Bytes(), stats
}

func noise(seed byte, n int) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return string(b)
}

func TestWhatADeltaReuses(t *testing.T) {
	big := noise(1, 50_000)
	old := files(map[string]string{
		"usr/bin/a": big, "usr/bin/b": big, "usr/lib/c.so.1": noise(2, 30_000), "etc/long/path/to/a/small/file": "tiny, and twenty more bytes",
		"data/f-1.txt": strings.Repeat("some text\n", 1000),
	})
	pax := entry{tar.Header{
		Name: strings.Repeat("long/", 60) + "n", Mode: 0o600, Size: 50_000, Typeflag: tar.TypeReg,
		PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"},
	}, big}
	changed := noise(2, 30_000)
	changed = changed[:10_000] + "an insertion" + changed[10_000:20_000] + noise(3, 500) + changed[20_500:]
	for _, test := range []struct {
		name  string
		fresh []byte
		want  tardiff.Stats
		size  int64 // of the delta, at most
	}{
		{"nothing", makeTar(t), tardiff.Stats{}, 100},
		{"the same file", makeTar(t, file("usr/bin/b", big)), tardiff.Stats{Identical: 1, Copied: 50_000}, 300},
		{"moved", makeTar(t, file("opt/x", big), file("./usr/bin/../bin/a", big)), tardiff.Stats{Identical: 2, Copied: 100_000}, 400},
		{"a long header", makeTar(t, pax), tardiff.Stats{Identical: 1, Copied: 50_000}, 500},
		{"changed", makeTar(t, file("usr/lib/c.so.1", changed)), tardiff.Stats{Changed: 1}, 1500},
		{"changed and renamed", makeTar(t, file("lib64/c.so.2", changed)), tardiff.Stats{Changed: 1}, 1500},
		{"new", makeTar(t, file("new", noise(9, 3000))), tardiff.Stats{New: 1, Data: 3000 + 512 + 72 + 1024}, 3300},
		{"unlike", makeTar(t, file("usr/bin/a", noise(9, 3000))), tardiff.Stats{Changed: 1}, 3300},
		{"too small to be worth it", makeTar(t, file("etc/x", "tiny, and twenty more bytes")), tardiff.Stats{New: 1}, 300},
		{"grown", makeTar(t, file("data/f-2.txt", strings.Repeat("some text\n", 1500))), tardiff.Stats{Changed: 1}, 300},
		{"empty files, links, devices", makeTar(t, file("usr/bin/a", ""),
			entry{tar.Header{Name: "l", Linkname: "usr/bin/a", Typeflag: tar.TypeLink}, ""},
			entry{tar.Header{Name: "d/", Typeflag: tar.TypeDir}, ""},
			entry{tar.Header{Name: "c", Typeflag: tar.TypeChar, Devmajor: 1}, ""}), tardiff.Stats{}, 400},
		{"more behind the end", append(makeTar(t, file("usr/bin/b", big)), noise(4, 5000)...), tardiff.Stats{Identical: 1, Copied: 50_000}, 5400},
		{"no tar", []byte(noise(5, 10_000)), tardiff.Stats{Data: 10_000}, 10_100},
		{"no bytes", nil, tardiff.Stats{}, 100},
		{"cut short in a file", makeTar(t, file("usr/bin/b", big))[:20_000], tardiff.Stats{Data: 20_000}, 20_100},
		{"broken behind a file", append(makeTar(t, file("usr/bin/b", big))[:512+50_176], noise(6, 1000)...), tardiff.Stats{Identical: 1, Copied: 50_000}, 1400},
	} {
		t.Run(test.name, func(t *testing.T) {
			delta, got := create(t, old, test.fresh, tardiff.CreateOptions{})
			if int64(len(delta)) > test.size {
				t.Errorf("a delta of %d bytes: %+v", len(delta), got)
			}
			ignore := []string{"DiffID", "TarSize", "DeltaSize", "Added"}
			if test.want.Copied == 0 {
				ignore = append(ignore, "Copied")
			}
			if test.want.Data == 0 {
				ignore = append(ignore, "Data")
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(tardiff.Stats{}, ignore...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// manyFiles returns an old image and a new tar with a bit of everything.
func manyFiles(t testing.TB) (tardiff.OldFiles, []byte) {
	contents, entries := map[string]string{}, []entry{}
	for i := range 60 {
		text := noise(byte(i), 1000+i*997)
		contents[fmt.Sprintf("d%d/f-%d", i%7, i)] = text
		switch i % 4 {
		case 1:
			text = text[:len(text)/2] + "inserted" + text[len(text)/2:]
		case 2:
			b := []byte(text)
			for n := 0; n < len(b); n += 50 {
				b[n]++
			}
			text = string(b)
		case 3:
			text = noise(byte(i+100), len(text)) + text[len(text)/2:]
		}
		entries = append(entries, file(fmt.Sprintf("d%d/f-%d", i%5, i), text))
	}
	return files(contents), makeTar(t, entries...)
}

func TestJobsDoNotChangeTheDelta(t *testing.T) {
	old, fresh := manyFiles(t)
	want, stats := create(t, old, fresh, tardiff.CreateOptions{Jobs: 1, Level: 3})
	if stats.Identical == 0 || stats.Changed == 0 || stats.Added == 0 {
		t.Errorf("%+v", stats)
	}
	for jobs := 1; jobs < 9; jobs += 3 {
		if got, _ := create(t, backwards{old}, fresh, tardiff.CreateOptions{Jobs: jobs, Level: 3}); !bytes.Equal(got, want) {
			t.Errorf("%d jobs make another delta", jobs)
		}
	}
}

// backwards lists the old files in another order.
type backwards struct{ tardiff.OldFiles }

func (b backwards) Files() iter.Seq2[tardiff.OldFile, error] {
	return func(yield func(tardiff.OldFile, error) bool) {
		var list []tardiff.OldFile
		for f, err := range b.OldFiles.Files() {
			if err != nil {
				yield(f, err)
				return
			}
			list = append(list, f)
		}
		for i := range list {
			if !yield(list[len(list)-1-i], nil) {
				return
			}
		}
	}
}

// Files that are larger than the window are compared in parts.
func TestWindows(t *testing.T) {
	text := noise(1, 200_000)
	old := files(map[string]string{"same": text, "grown": text, "shrunk": text + noise(2, 100_000), "small": "x"})
	fresh := makeTar(t, file("same", text[:99_999]+"!"+text[100_000:]), file("grown", noise(3, 3000)+text), file("shrunk", text), file("small", text))
	for _, window := range []int{4 << 10, 5000, 64 << 10, 1 << 20} {
		delta, stats := create(t, old, fresh, tardiff.CreateOptions{Window: window})
		t.Logf("window of %d: %d bytes", window, len(delta))
		if stats.Data > 220_000 {
			t.Errorf("window of %d: %+v", window, stats)
		}
	}
}

// Names that other implementations refuse must not be in a delta.
func TestPathsThatAreNotUsed(t *testing.T) {
	content := noise(1, 10_000)
	for _, path := range []string{"bad\xff", "/abs", "a/../b", "a//b", "./a", "", "zero\x00", strings.Repeat("p/", 2048) + "p"} {
		old := oneFile{path, content}
		if _, stats := create(t, old, makeTar(t, file("f", content)), tardiff.CreateOptions{}); stats.New != 1 {
			t.Errorf("%.20q: %+v", path, stats)
		}
	}
	if _, stats := create(t, oneFile{"good", content}, makeTar(t, file("f", content)), tardiff.CreateOptions{}); stats.Identical != 1 {
		t.Errorf("%+v", stats)
	}
}

type oneFile struct{ path, content string }

func (o oneFile) Files() iter.Seq2[tardiff.OldFile, error] {
	return func(yield func(tardiff.OldFile, error) bool) {
		yield(tardiff.OldFile{Path: o.path, Size: int64(len(o.content))}, nil)
	}
}

func (o oneFile) Open(path string) (tardiff.File, error) {
	return inMemory{strings.NewReader(o.content)}, nil
}

type inMemory struct{ *strings.Reader }

func (inMemory) Close() error { return nil }

func TestWhoFailedInCreate(t *testing.T) {
	broken := errors.New("disk broken")
	old, fresh := manyFiles(t)
	opens := 0
	second := func(r io.Reader) tardiff.Tar {
		opens = 0
		return func(context.Context) (io.ReadCloser, error) {
			if opens++; opens == 2 {
				return io.NopCloser(r), nil
			}
			return io.NopCloser(bytes.NewReader(fresh)), nil
		}
	}
	other := bytes.Clone(fresh)
	other[len(other)-1]++
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx  context.Context
		old  tardiff.OldFiles
		tar  tardiff.Tar
		w    io.Writer
		opts tardiff.CreateOptions
		want error
		text string
	}{
		"the tar does not open": {tar: func(context.Context) (io.ReadCloser, error) { return nil, broken }, want: broken},
		"the tar breaks": {tar: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(fresh[:5000]), iotest.ErrReader(broken))), nil
		}, want: broken},
		"the tar breaks later": {tar: second(io.MultiReader(bytes.NewReader(fresh[:5000]), iotest.ErrReader(broken))), want: broken},
		"it is another tar":    {tar: second(bytes.NewReader(other)), text: "another one"},
		"it is shorter":        {tar: second(bytes.NewReader(fresh[:len(fresh)-1])), text: "another one"},
		"it is longer":         {tar: second(io.MultiReader(bytes.NewReader(fresh), strings.NewReader("x"))), text: "another one"},
		"the writer":           {w: failing{broken}, want: broken},
		"the writer, later":    {w: &failsAfter{10_000, broken}, want: broken},
		"old files are listed": {old: brokenFiles{old, broken, 0}, want: broken},
		"old files are opened": {old: brokenFiles{old, broken, 1}, want: broken},
		"old files are read":   {old: brokenFiles{old, broken, 2}, want: broken},
		"cancelled":            {ctx: cancelled, want: context.Canceled},
		"many files":           {opts: tardiff.CreateOptions{MaxFiles: 59}, want: tardiff.ErrLimit},
		"a level":              {opts: tardiff.CreateOptions{Level: 23}, text: "level 23"},
		"a window":             {opts: tardiff.CreateOptions{Window: 1}, text: "window of 1 bytes"},
		"jobs":                 {opts: tardiff.CreateOptions{Jobs: -1}, text: "-1 jobs"},
	} {
		t.Run(name, func(t *testing.T) {
			opens = 0
			if test.ctx == nil {
				test.ctx = t.Context()
			}
			if test.old == nil {
				test.old = old
			}
			if test.tar == nil {
				test.tar = tarOf(fresh)
			}
			if test.w == nil {
				test.w = io.Discard
			}
			_, err := tardiff.Create(test.ctx, test.old, test.tar, test.w, test.opts)
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v", err)
			}
		})
	}
}

type failsAfter struct {
	left int
	err  error
}

func (f *failsAfter) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, f.err
	}
	return len(p), nil
}

// brokenFiles fail when they are listed, opened or read.
type brokenFiles struct {
	tardiff.OldFiles
	err  error
	step int
}

func (b brokenFiles) Files() iter.Seq2[tardiff.OldFile, error] {
	if b.step == 0 {
		return func(yield func(tardiff.OldFile, error) bool) { yield(tardiff.OldFile{}, b.err) }
	}
	return b.OldFiles.Files()
}

func (b brokenFiles) Open(path string) (tardiff.File, error) {
	if b.step == 1 {
		return nil, b.err
	}
	return brokenSource{read: b.err}, nil
}

// An old file that becomes shorter while it is used must not make a wrong delta.
func TestOldFileThatShrinks(t *testing.T) {
	_, err := tardiff.Create(t.Context(), liar{oneFile{"f", "short"}}, tarOf(makeTar(t, file("f", noise(1, 10_000)))), io.Discard, tardiff.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), `"f"`) {
		t.Errorf("error %v", err)
	}
}

type liar struct{ oneFile }

func (l liar) Files() iter.Seq2[tardiff.OldFile, error] {
	return func(yield func(tardiff.OldFile, error) bool) { yield(tardiff.OldFile{Path: l.path, Size: 10_001}, nil) }
}
