package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/go-composefs/composefs/dumpfile"
	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/splitstream"
)

// lines tells of a tree what a test wants to know: mode, link count, path and content or target.
func lines(t *testing.T, l *layer.Layer) []string {
	t.Helper()
	var b bytes.Buffer
	if err := dumpfile.Write(&b, l.Root, dumpfile.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(b.String()) {
		f := strings.Fields(line)
		list = append(list, strings.TrimSuffix(fmt.Sprint(f[2], " ", f[3], " ", f[0], " ", f[9]), " -"))
		if strings.HasPrefix(f[2], "@") || strings.HasPrefix(f[2], "12") {
			list[len(list)-1] = f[2] + " " + f[0] + " -> " + f[8]
		}
	}
	return list
}

func TestTheLastEntryOfANameCounts(t *testing.T) {
	for _, test := range []struct {
		name    string
		entries []entry
		want    []string
	}{
		{"nothing", nil, []string{"40755 1 /"}},
		{"root", []entry{dir("./", 0o700)}, []string{"40700 1 /"}},
		{"parents", []entry{file("a/b/c", "x")}, []string{"40755 1 /", "40755 1 /a", "40755 1 /a/b", "100644 1 /a/b/c x"}},
		{"parents come later", []entry{file("a/b", "x"), dir("a", 0o711), dir("/", 0o750)}, []string{"40750 1 /", "40711 1 /a", "100644 1 /a/b x"}},
		{"absolute", []entry{file("//a/.//b", "x")}, []string{"40755 1 /", "40755 1 /a", "100644 1 /a/b x"}},
		{"file over file", []entry{file("a", "x"), file("a", "y")}, []string{"40755 1 /", "100644 1 /a y"}},
		{"file over directory", []entry{file("a/b", "x"), file("a", "y")}, []string{"40755 1 /", "100644 1 /a y"}},
		{"directory over file", []entry{file("a", "x"), dir("a", 0o700)}, []string{"40755 1 /", "40700 1 /a"}},
		{"directory by its slash", []entry{{tar.Header{Name: "a/", Mode: 0o700, Format: tar.FormatUSTAR}, ""}}, []string{"40755 1 /", "40700 1 /a"}},
		{"hard link", []entry{file("b", "x"), link("a", "/b")}, []string{"40755 1 /", "100644 2 /a x", "@100644 /b -> /a"}},
		{"hard link to what is replaced", []entry{file("a", "x"), link("b", "a"), file("a", "y")}, []string{"40755 1 /", "100644 1 /a y", "100644 1 /b x"}},
		{"symlinks are not followed", []entry{symlink("a", ".."), file("b", "x")}, []string{"40755 1 /", "120777 /a -> ..", "100644 1 /b x"}},
		{"whiteouts are names", []entry{file(".wh.a", "")}, []string{"40755 1 /", "100644 1 /.wh.a"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			archive := makeTar(t, test.entries...)
			if diff := cmp.Diff(test.want, lines(t, readBoth(t, archive, archive))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	h := tar.Header{
		Name: "f", Typeflag: tar.TypeReg, Mode: 0o6755, Uid: 1 << 30, Gid: 7, ModTime: time.Unix(12, 345), Format: tar.FormatPAX,
		PAXRecords: map[string]string{
			"SCHILY.xattr.user.b": "2\x00\n", "SCHILY.xattr.security.capability": "c", "SCHILY.acl.access": "user::rwx", "comment": "none",
		},
	}
	null := tar.Header{Name: "null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 0x12345}
	archive := makeTar(t, entry{h, "content"}, entry{null, ""})
	l := readBoth(t, archive, archive)
	f := l.Root.Lookup("f")
	if f.Mode != 0o106755 || f.UID != 1<<30 || f.GID != 7 || f.Mtime.Sec != 12 || f.Mtime.Nsec != 345 || f.Size != 7 || string(f.Content) != "content" {
		t.Errorf("%+v", f)
	}
	if b, _ := f.Xattr("user.b"); b != "2\x00\n" || len(f.Xattrs) != 2 {
		t.Errorf("attributes %+v", f.Xattrs)
	}
	if got := l.Root.Lookup("null").Rdev; got != 0x12300145 {
		t.Errorf("device %#x", got)
	}
	if diff := cmp.Diff(map[string]int{"SCHILY.acl.access": 1}, l.Ignored); diff != "" {
		t.Error(diff)
	}
	if want := sha256.Sum256(archive); !bytes.Equal(l.DiffID, want[:]) {
		t.Errorf("diff id %x, want %x", l.DiffID, want)
	}
}

func TestRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		entries []entry
		want    error
		text    string
	}{
		"upwards":             {[]entry{file("a/../../b", "x")}, layer.ErrEntry, `entry "a/../../b" at byte 0: bad entry of a tar: "a/../../b" leads out of the tree`},
		"a parent is a link":  {[]entry{symlink("a", "/etc"), file("a/passwd", "x")}, layer.ErrEntry, `entry "a/passwd" at byte 512: bad entry of a tar: "a" is no directory`},
		"a parent is a file":  {[]entry{file("a", "x"), file("a/b", "x")}, layer.ErrEntry, ""},
		"link out":            {[]entry{link("a", "../../etc/passwd")}, layer.ErrEntry, ""},
		"link to nothing":     {[]entry{link("a", "b"), file("b", "x")}, layer.ErrEntry, ""},
		"link to a directory": {[]entry{dir("d", 0o755), link("d/e", "d")}, layer.ErrEntry, ""},
		"link as root":        {[]entry{file("a", ""), link("/", "a")}, layer.ErrEntry, ""},
		"link through a link": {[]entry{dir("d", 0o755), file("d/f", ""), symlink("s", "d"), link("a", "s/f")}, layer.ErrEntry, ""},
		"root is a file":      {[]entry{symlink("./", "x")}, layer.ErrEntry, ""},
		"long name":           {[]entry{file(strings.Repeat("n", 256), "")}, layer.ErrEntry, ""},
		"deep name":           {[]entry{file(strings.Repeat("d/", 2100)+"f", "")}, layer.ErrEntry, ""},
		"empty link":          {[]entry{symlink("a", "")}, layer.ErrEntry, ""},
		"long link":           {[]entry{symlink("a", strings.Repeat("t", 4096))}, layer.ErrEntry, ""},
		"type":                {[]entry{{tar.Header{Name: "a", Typeflag: 'M'}, ""}}, layer.ErrEntry, ""},
		"large attribute": {[]entry{{tar.Header{
			Name: "a", Typeflag: tar.TypeReg,
			PAXRecords: map[string]string{"SCHILY.xattr.user.a": strings.Repeat("v", 40_000)},
		}, ""}}, layer.ErrEntry, ""},
		"many": {[]entry{file("a/b/c/d", ""), file("e", ""), file("f", "")}, layer.ErrLimit, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := layer.Read(t.Context(), bytes.NewReader(makeTar(t, test.entries...)), layer.Options{Store: &memory{}, MaxEntries: 5})
			if !errors.Is(err, test.want) || test.text != "" && err.Error() != test.text {
				t.Errorf("error %v", err)
			}
		})
	}
}

func compressed(t *testing.T, plain []byte) map[string][]byte {
	t.Helper()
	var gz, two, zst bytes.Buffer
	for _, half := range [][]byte{plain[:len(plain)/2], plain[len(plain)/2:]} {
		z := gzip.NewWriter(&two)
		_, _ = z.Write(half)
		_ = z.Close()
	}
	z := gzip.NewWriter(&gz)
	_, _ = z.Write(plain)
	_ = z.Close()
	e, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = e.Write(plain)
	_ = e.Close()
	return map[string][]byte{"plain": plain, "gzip": gz.Bytes(), "gzip of two members": two.Bytes(), "zstd": zst.Bytes()}
}

// someFiles returns entries of all sizes that are read in different ways.
func someFiles() []entry {
	var list []entry
	for i, size := range []int{0, 1, 64, 65, 512, 4096, 70_000, 1 << 20, 1<<20 + 1, 3 << 20, 65, 64, 65} {
		list = append(list, file(fmt.Sprint("d/", i), strings.Repeat(fmt.Sprint(i, "abcdefg"), size)[:size]))
	}
	for i := range 500 {
		list = append(list, file(fmt.Sprint("small/", i), "s"))
	}
	return list
}

func TestCompressed(t *testing.T) {
	plain := makeTar(t, someFiles()...)
	for name, archive := range compressed(t, plain) {
		t.Run(name, func(t *testing.T) {
			if !layer.Detect(archive[:512]) {
				t.Error("is not taken for a tar")
			}
			if readBoth(t, archive, plain).NoEnd {
				t.Error("has no end")
			}
			cut := archive[:len(archive)-2000] // of a plain one: into a header
			_, err := layer.Read(t.Context(), bytes.NewReader(cut), layer.Options{Store: &memory{}})
			if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, layer.ErrFormat) {
				t.Errorf("cut short: %v", err)
			}
			if name == "plain" {
				return
			}
			bad := bytes.Clone(archive)
			bad[len(bad)/2] ^= 1
			if _, err := layer.Read(t.Context(), bytes.NewReader(bad), layer.Options{Store: &memory{}}); err == nil {
				t.Error("a wrong bit was not noticed")
			}
		})
	}
	for name, begin := range map[string]string{"xz": "\xfd7zXZ\x00....", "bzip2": "BZh91AY"} {
		_, err := layer.Read(t.Context(), strings.NewReader(begin), layer.Options{Store: &memory{}})
		if !errors.Is(err, layer.ErrCompression) || !strings.HasSuffix(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNoTar(t *testing.T) {
	for name, input := range map[string]string{
		"nothing": "", "a byte": "a", "text": strings.Repeat("this is no tar\n", 100), "gzip of nothing": string(compressed(t, nil)["gzip"]),
	} {
		if _, err := layer.Read(t.Context(), strings.NewReader(input), layer.Options{Store: &memory{}}); !errors.Is(err, layer.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Some builders make a layer without a byte for a step that changes nothing; composefs-rs takes those as well.
func TestLayerOfNothingIsEmpty(t *testing.T) {
	for name, input := range map[string][]byte{"plain": nil, "gzip": compressed(t, nil)["gzip"]} {
		r, err := layer.Decompress(bytes.NewReader(input))
		if err != nil {
			t.Fatal(err)
		}
		l, err := layer.Read(t.Context(), r, layer.Options{Store: &memory{}, NoTree: true, Plain: true})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want := sha256.Sum256(nil); l.Size != 0 || !bytes.Equal(l.DiffID, want[:]) {
			t.Errorf("%s: %d bytes, diff_id %x", name, l.Size, l.DiffID)
		}
	}
}

// A tar that was cut after any number of bytes is an error, or has no end.
func TestCutShort(t *testing.T) {
	whole := makeTar(t, file("a", "x"), file("b", strings.Repeat("y", 600)), dir("c", 0o755))
	for n := range len(whole) - 512 {
		l, err := layer.Read(t.Context(), bytes.NewReader(whole[:n]), layer.Options{Store: &memory{}})
		if err == nil && !l.NoEnd {
			t.Fatalf("%d of %d bytes: taken for whole", n, len(whole))
		}
		if err != nil && !errors.Is(err, layer.ErrFormat) {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
}

// What a tar has behind its end belongs to it.
func TestPaddingAndMoreBehindTheEnd(t *testing.T) {
	plain := append(makeTar(t, file("a", strings.Repeat("x", 100))), bytes.Repeat([]byte("junk"), 100_000)...)
	readBoth(t, plain, plain)
}

func TestStoreFails(t *testing.T) {
	archive := makeTar(t, someFiles()...)
	full := errors.New("disk full")
	for n := range 10 {
		w := splitstream.NewWriter(splitstream.WriterOptions{ContentType: splitstream.Layer})
		_, err := layer.Read(t.Context(), bytes.NewReader(archive), layer.Options{Store: &memory{fail: full, left: n}, Stream: w})
		if n < 9 && !errors.Is(err, full) || n == 9 && err != nil {
			t.Errorf("after %d objects: %v", n, err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := layer.Read(ctx, bytes.NewReader(archive), layer.Options{Store: &memory{}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
