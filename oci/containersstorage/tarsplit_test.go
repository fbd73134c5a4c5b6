package containersstorage_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc64"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/go-composefs/composefs/oci/containersstorage"
)

func compress(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// checksum is that of a tar-split, in base64.
func checksum(content string) string {
	sum := crc64.Checksum([]byte(content), crc64.MakeTable(crc64.ISO))
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, sum))
}

// fileLine is the line of a file in a tar-split.
func fileLine(name, content string) string {
	return `{"type":1,"name":"` + name + `","size":` + itoa(len(content)) + `,"payload":"` + checksum(content) + `","position":1}`
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

func TestLines(t *testing.T) {
	hello := fileLine("etc/a", "hello world")
	for _, test := range []struct{ name, text, want string }{
		{"raw", `{"type":2,"payload":"YWJj","position":0}` + "\n", "abc"},
		{"raw, written in another way", "{ \"position\" : 0, \"payload\" : \"YWJj\", \"type\" : 2 }\n", "abc"},
		{"raw with more fields", `{"type":2,"payload":"YWJj","position":0,"name":"x"}` + "\n", "abc"},
		{"raw with a name in between", `{"type":2,"payload":"YWJj","name":"","position":0}` + "\n", "abc"},
		{"raw with an escape", `{"type":2,"payload":"\u0059WJj","position":0}` + "\n", "abc"},
		{"nothing raw", `{"type":2,"payload":"","position":0}` + "\n" + `{"type":2,"payload":null,"position":0}` + "\n", ""},
		{"empty lines", "\n\n" + `{"type":2,"payload":"YWJj","position":0}` + "\r\n\n", "abc"},
		{"no end of the line", `{"type":2,"payload":"YWJj","position":0}`, "abc"},
		{"file", hello + "\n", "hello world"},
		{"file twice", hello + "\n" + hello + "\n", "hello worldhello world"},
		{"raw name", strings.Replace(hello, `"name":"etc/a"`, `"name_raw":"`+base64.StdEncoding.EncodeToString([]byte("./etc/a"))+`"`, 1) + "\n", "hello world"},
		{"absolute name", strings.Replace(hello, "etc/a", "/etc/a", 1) + "\n", "hello world"},
		{"upwards", strings.Replace(hello, "etc/a", "../../etc/x/../a", 1) + "\n", "hello world"},
		{"no content", `{"type":1,"name":"../..","payload":null,"position":1}` + "\n", ""},
		{"a line of a megabyte", `{"type":2,"payload":"` + strings.Repeat("YWJj", 300_000) + `","position":0}` + "\n", strings.Repeat("abc", 300_000)},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGraph(t)
			g.simple("localhost/a:latest")
			g.layers[0].Size = -1
			g.save()
			l := open(t, g, "a").Layers()[0]
			if l.Size != containersstorage.UnknownSize {
				t.Errorf("size %d", l.Size)
			}
			g.write("overlay-layers/"+l.ID+".tar-split.gz", compress(t, test.text))
			if got, err := readAll(t, l); err != nil || string(got) != test.want {
				t.Errorf("%.50q, error %v", got, err)
			}
		})
	}
}

func TestHostileTarSplits(t *testing.T) {
	hello := fileLine("etc/a", "hello world")
	raw := `{"type":2,"payload":"YWJj","position":0}` + "\n"
	whole := compress(t, raw+hello)
	wrong := bytes.Clone(whole)
	wrong[len(wrong)-5] ^= 1 // of the checksum or the size
	for name, test := range map[string]struct {
		split []byte
		want  error
		text  string
	}{
		"empty":               {nil, containersstorage.ErrCorrupt, "empty"},
		"no gzip":             {[]byte(raw), containersstorage.ErrCorrupt, ""},
		"cut short":           {whole[:len(whole)-9], containersstorage.ErrCorrupt, "decompress"},
		"wrong checksum":      {wrong, containersstorage.ErrCorrupt, "decompress"},
		"no JSON":             {compress(t, raw+"{\n"), containersstorage.ErrCorrupt, "line 2"},
		"no base64":           {compress(t, `{"type":2,"payload":"*","position":0}`), containersstorage.ErrCorrupt, "line 1"},
		"another type":        {compress(t, raw+raw+`{"type":3}`), containersstorage.ErrCorrupt, "line 3: type 3"},
		"negative size":       {compress(t, strings.Replace(hello, `"size":11`, `"size":-11`, 1)), containersstorage.ErrCorrupt, "size -11"},
		"size of 100 digits":  {compress(t, strings.Replace(hello, `"size":11`, `"size":`+strings.Repeat("9", 100), 1)), containersstorage.ErrCorrupt, "line 1"},
		"size of an exabyte":  {compress(t, strings.Replace(hello, `"size":11`, `"size":1000000000000000000`, 1)), containersstorage.ErrCorrupt, "larger than the storage says"},
		"no checksum":         {compress(t, strings.Replace(hello, checksum("hello world"), "", 1)), containersstorage.ErrCorrupt, "checksum of 0 bytes"},
		"no name":             {compress(t, strings.Replace(hello, "etc/a", "", 1)), containersstorage.ErrCorrupt, "names no file"},
		"the root":            {compress(t, strings.Replace(hello, "etc/a", "../..", 1)), containersstorage.ErrCorrupt, "names no file"},
		"name with a zero":    {compress(t, strings.Replace(hello, "etc/a", `etc\u0000a`, 1)), containersstorage.ErrCorrupt, "zero byte"},
		"more than the tar":   {compress(t, strings.Repeat(hello+"\n", 30_000)), containersstorage.ErrCorrupt, "larger than the storage says"},
		"a line without end":  {compress(t, `{"type":2,"payload":"`+strings.Repeat("A", 65<<20)), containersstorage.ErrCorrupt, "more than"},
		"a file that is none": {compress(t, strings.Replace(hello, "etc/a", "etc", 1)), containersstorage.ErrChanged, "no regular file"},
		"through a file":      {compress(t, strings.Replace(hello, "etc/a", "etc/a/b", 1)), nil, "not a directory"},
		"a long name":         {compress(t, strings.Replace(hello, "etc/a", strings.Repeat("n", 5000), 1)), nil, "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGraph(t)
			g.simple("localhost/a:latest")
			l := open(t, g, "a").Layers()[0]
			g.write("overlay-layers/"+l.ID+".tar-split.gz", test.split)
			_, err := readAll(t, l)
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("reader: %v", err)
			}
			if _, _, err := joined(t, l); err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("segments: %v", err)
			}
		})
	}
}

// Neither a link in a layer nor one in the place of its directory leads to files of the machine.
func TestLinksOut(t *testing.T) {
	secret := t.TempDir() + "/secret"
	if err := os.WriteFile(secret, []byte("hello world"), 0o644); err != nil {
		t.Fatal(err)
	}
	g := newGraph(t)
	g.simple("localhost/a:latest")
	l := open(t, g, "a").Layers()[0]
	a := g.path("overlay/" + l.ID + "/diff/etc/a")
	up := strings.Repeat("../", 20)
	for _, target := range []string{secret, up + secret[1:], "/proc/self/cwd"} {
		g.must(os.Remove(a))
		g.must(os.Symlink(target, a))
		if got, err := readAll(t, l); err == nil || bytes.Contains(got, []byte("hello")) {
			t.Errorf("link to %s: error %v", target, err)
		}
	}
	g.must(os.RemoveAll(g.path("overlay/" + l.ID + "/diff/etc")))
	for _, target := range []string{secret[:len(secret)-7], up + secret[1:len(secret)-7]} {
		link := g.path("overlay/" + l.ID + "/diff/etc")
		g.must(os.Symlink(target, link))
		g.write("overlay-layers/"+l.ID+".tar-split.gz", compress(t, fileLine("etc/secret", "hello world")))
		if got, err := readAll(t, l); err == nil {
			t.Errorf("link to %s: %q", target, got)
		}
		g.must(os.Remove(link))
	}
	for _, dir := range []string{"overlay/" + l.ID + "/diff", "overlay/" + l.ID, "overlay"} {
		g.must(os.RemoveAll(g.path(dir)))
		g.must(os.Symlink(secret[:len(secret)-7], g.path(dir)))
		if _, err := readAll(t, l); err == nil {
			t.Errorf("%s is a link", dir)
		}
	}
}
