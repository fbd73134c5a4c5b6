package dumpfile_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/dumpfile"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/treetest"
	"github.com/go-composefs/composefs/tree"
)

func TestRandomTreesComeBack(t *testing.T) {
	for seed := range uint64(200) {
		opts := treetest.Options{Algorithm: []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512}[seed%2]}
		root := treetest.Random(rand.New(rand.NewPCG(seed, 2)), opts)
		dump := write(t, root)
		back, err := dumpfile.Read(strings.NewReader(dump), dumpfile.ReadOptions{Strict: true})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for c := range tree.Compare(root, back) {
			t.Errorf("seed %d: %v", seed, c)
		}
		// Sizes of special files, link counts of directories and own places too.
		if again := write(t, back); again != dump {
			t.Fatalf("seed %d: another dump", seed)
		}
	}
}

func TestWriteEscapes(t *testing.T) {
	var all, escaped strings.Builder
	for c := range 256 {
		all.WriteByte(byte(c))
		switch s := "0123456789abcdef"; {
		case c == '\n':
			escaped.WriteString(`\n`)
		case c == '\r':
			escaped.WriteString(`\r`)
		case c == '\t':
			escaped.WriteString(`\t`)
		case c == '\\':
			escaped.WriteString(`\\`)
		case c <= ' ' || c >= 0x7f:
			escaped.WriteString(`\x` + s[c>>4:c>>4+1] + s[c&15:c&15+1])
		default:
			escaped.WriteByte(byte(c))
		}
	}
	noNUL := func(s, nul string) string { return strings.Replace(s, nul, "", 1) }
	noEquals := strings.Replace(escaped.String(), "=", `\x3d`, 1)
	name := strings.Replace(noNUL(all.String(), "\x00"), "/", "", 1)
	root := &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 1, Children: []tree.Entry{
		{Name: name, Inode: &tree.Inode{
			Mode: tree.TypeRegular, Size: 256, Content: []byte(all.String()), Mtime: tree.Timespec{Sec: -1, Nsec: 20},
			Xattrs: []tree.Xattr{{Name: noNUL(all.String(), "\x00"), Value: all.String()}},
		}},
		{Name: "-", Inode: &tree.Inode{Mode: tree.TypeSymlink, Size: 1, Target: "-"}},
		{Name: "=", Inode: &tree.Inode{Mode: tree.TypeSymlink, Size: 255, Target: noNUL(all.String(), "\x00")}},
	}}
	want := rootLine +
		"/" + strings.Replace(noNUL(escaped.String(), `\x00`), "/", "", 1) + " 256 100000 0 0 0 0 -1.20 - " + escaped.String() + " - " +
		noNUL(noEquals, `\x00`) + "=" + noEquals + "\n" +
		`/- 1 120000 0 0 0 0 0.0 \x2d - -` + "\n" +
		"/= 255 120000 0 0 0 0 0.0 " + noNUL(escaped.String(), `\x00`) + " - -\n"
	if got := write(t, root); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestWriteRepeatsTheFileAtEachLink(t *testing.T) {
	const dump = rootLine + "/a 9 @100644 2 1 2 0 3.4 /b - " + "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a" + " user.a=b\n"
	line := strings.Replace(strings.TrimPrefix(dump, rootLine), "/a 9 @", "/b 9 ", 1)
	line = strings.Replace(line, " /b ", " x ", 1)
	if got := write(t, read(t, dump+line)); got != dump+line {
		t.Errorf("got\n%swant\n%s", got, dump+line)
	}
}

func TestWriteInTheOrderOfAnImage(t *testing.T) {
	root := read(t, rootLine+"/a 0 100644 1 0 0 0 0.0 - - - user.a=1 user.b=2\n")
	order := map[*tree.Inode][]tree.Xattr{root.Lookup("a"): {{Name: "user.b", Value: "2"}, {Name: "user.a", Value: "1"}}}
	var b bytes.Buffer
	if err := dumpfile.Write(&b, root, dumpfile.WriteOptions{XattrOrder: order}); err != nil {
		t.Fatal(err)
	}
	if want := rootLine + "/a 0 100644 1 0 0 0 0.0 - - - user.b=2 user.a=1\n"; b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// shortWriter takes so many bytes and then fails.
type shortWriter int

func (w *shortWriter) Write(p []byte) (int, error) {
	n := min(len(p), int(*w))
	*w -= shortWriter(n)
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

func TestWriteReportsErrors(t *testing.T) {
	root := read(t, string(osDump(5000)))
	for _, room := range []shortWriter{0, 300_000} {
		if err := dumpfile.Write(&room, root, dumpfile.WriteOptions{}); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("got %v", err)
		}
	}
	file := &tree.Inode{Mode: tree.TypeRegular}
	root = &tree.Inode{Mode: tree.TypeDir, Children: []tree.Entry{{Name: "a", Inode: file, Link: true}}}
	if err := dumpfile.Write(io.Discard, root, dumpfile.WriteOptions{}); err == nil || !strings.Contains(err.Error(), "/a: hard link") {
		t.Errorf("a link without a file: got %v", err)
	}
}
