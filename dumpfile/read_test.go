package dumpfile_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/go-composefs/composefs/dumpfile"
	"github.com/go-composefs/composefs/tree"
)

const rootLine = "/ 0 40755 1 0 0 0 0.0 - - -\n"

func read(t testing.TB, dump string) *tree.Inode {
	t.Helper()
	root, err := dumpfile.Read(strings.NewReader(dump), dumpfile.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func write(t testing.TB, root *tree.Inode) string {
	t.Helper()
	var b strings.Builder
	if err := dumpfile.Write(&b, root, dumpfile.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReadAccepts(t *testing.T) {
	for _, tc := range []struct {
		name, dump, want string
	}{
		{"no last newline", "/ 0 40755 1 0 0 0 0.0 - - -", rootLine},
		{"relative paths and repeated slashes", rootLine + "d 0 40755 1 0 0 0 0.0 - - -\nd//e 0 100644 1 0 0 0 0.0 - - -\n", rootLine + "/d 0 40755 1 0 0 0 0.0 - - -\n/d/e 0 100644 1 0 0 0 0.0 - - -\n"},
		{"negative and odd numbers", rootLine + "/a 0 100644 +1 -1 4294967296 7 -5.000000001 - - -\n", rootLine + "/a 0 100644 1 4294967295 0 0 -5.1 - - -\n"},
		{"files out of order", rootLine + "/b 0 100644 1 0 0 0 0.0 - - -\n/a 0 100644 1 0 0 0 0.0 - - -\n", rootLine + "/a 0 100644 1 0 0 0 0.0 - - -\n/b 0 100644 1 0 0 0 0.0 - - -\n"},
		{"links to links, and targets that come later", rootLine + "/a 0 @120000 - - - - 0.0 /b - -\n/b 0 @120000 - - - - 0.0 c - -\n/c 0 100644 3 0 0 0 0.0 - - -\n", rootLine + "/a 0 @100644 3 0 0 0 0.0 /c - -\n/b 0 @100644 3 0 0 0 0.0 /c - -\n/c 0 100644 3 0 0 0 0.0 - - -\n"},
		{"trailing space, equals sign in a value, key twice", rootLine + "/a 0 100644 1 0 0 0 0.0 - - - user.a=1 user.a=b=c \n", rootLine + "/a 0 100644 1 0 0 0 0.0 - - - user.a=b\\x3dc\n"},
		{"a lone dash as target and content", rootLine + "/a 0 120777 1 0 0 0 0.0 \\x2d - -\n/b 1 100644 1 0 0 0 0.0 - \\x2d -\n", rootLine + "/a 1 120777 1 0 0 0 0.0 \\x2d - -\n/b 1 100644 1 0 0 0 0.0 - \\x2d -\n"},
		{"payload and digest of an empty file", rootLine + "/a 0 100644 1 0 0 0 0.0 x - " + strings.Repeat("5a", 32) + "\n", rootLine + "/a 0 100644 1 0 0 0 0.0 - - -\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := write(t, read(t, tc.dump)); got != tc.want {
				t.Errorf("got\n%swant\n%s", got, tc.want)
			}
		})
	}
}

func TestStrict(t *testing.T) {
	for _, dump := range []string{
		"/ 0 40755 1 0 0 0 0.0 - - -",
		rootLine + "/a 0 100644 1 0 0 1 0.0 - - -\n",
		rootLine + "/a 0 100644 1 0 0 4294967296 0.0 - - -\n",
		rootLine + "/a 3 120777 1 0 0 0 0.0 to - -\n",
		rootLine + "/a 2 120777 1 0 0 0 0.0 to ab -\n",
	} {
		if _, err := dumpfile.Read(strings.NewReader(dump), dumpfile.ReadOptions{}); err != nil {
			t.Errorf("%q: %v", dump, err)
		}
		if _, err := dumpfile.Read(strings.NewReader(dump), dumpfile.ReadOptions{Strict: true}); !errors.Is(err, dumpfile.ErrSyntax) {
			t.Errorf("strict %q: error is %v", dump, err)
		}
	}
}

func TestReadersThatGiveLittleAtATime(t *testing.T) {
	dump := string(osDump(50))
	want := write(t, read(t, dump))
	for name, r := range map[string]io.Reader{
		"one byte":       iotest.OneByteReader(strings.NewReader(dump)),
		"data with EOF":  iotest.DataErrReader(strings.NewReader(dump)),
		"nothing at all": io.MultiReader(strings.NewReader(dump[:100]), strings.NewReader(""), strings.NewReader(dump[100:])),
	} {
		root, err := dumpfile.Read(r, dumpfile.ReadOptions{})
		if err != nil || write(t, root) != want {
			t.Errorf("%s: another tree, or %v", name, err)
		}
	}
}

func TestReadErrorNamesTheLine(t *testing.T) {
	r := io.MultiReader(strings.NewReader(rootLine+"/a 0 1"), iotest.ErrReader(io.ErrClosedPipe))
	_, err := dumpfile.Read(r, dumpfile.ReadOptions{Name: "some.dump"})
	if !errors.Is(err, io.ErrClosedPipe) || errors.Is(err, dumpfile.ErrSyntax) || !strings.HasPrefix(err.Error(), "some.dump:2: ") {
		t.Errorf("got %v", err)
	}
}

func TestContentsDoNotTouchEachOther(t *testing.T) {
	root := read(t, rootLine+"/a 1 100644 1 0 0 0 0.0 - a -\n/b 1 100644 1 0 0 0 0.0 - b -\n")
	a, b := root.Lookup("a"), root.Lookup("b")
	a.Content = append(a.Content, 'x')
	a.SetXattr("user.a", "")
	if string(b.Content) != "b" || b.Xattrs != nil {
		t.Errorf("b has content %q, attributes %v", b.Content, b.Xattrs)
	}
}

func TestEqualAttributesAreNotShared(t *testing.T) {
	const line = " 0 100644 1 0 0 0 0.0 - - - user.a=1 user.b=2\n"
	root := read(t, rootLine+"/a"+line+"/b"+line)
	root.Lookup("a").SetXattr("user.a", "changed")
	if v, _ := root.Lookup("b").Xattr("user.a"); v != "1" {
		t.Errorf("the attribute of the other file is %q", v)
	}
}

func TestPayloadsBecomeBackingPaths(t *testing.T) {
	const digest = "5a" + "00112233445566778899aabbccddeeff" + "00112233445566778899aabbccddee"
	for _, tc := range []struct {
		payload, digest string
		backing         string
		noBacking       bool
	}{
		{"5a/" + digest[2:], digest, "", false},
		{"5a/" + digest[2:], strings.ToUpper(digest), "", false},
		{"5A/" + strings.ToUpper(digest[2:]), digest, "5A/" + strings.ToUpper(digest[2:]), false},
		{"/5a/" + digest[2:], digest, "/5a/" + digest[2:], false},
		{"5a/" + digest[2:], "-", "5a/" + digest[2:], false},
		{"-", digest, "", true},
		{"", digest, "", true},
		{"-", "-", "", false},
		{"\\x2d", "-", "-", false},
	} {
		n := read(t, rootLine+"/a 7 100644 1 0 0 0 0.0 "+tc.payload+" - "+tc.digest+"\n").Lookup("a")
		hex := strings.TrimSuffix(strings.ToLower(tc.digest), "-")
		if n.Backing != tc.backing || n.NoBacking != tc.noBacking || n.Digest.String() != hex {
			t.Errorf("payload %s: backing %q, none %v, digest %s", tc.payload, n.Backing, n.NoBacking, n.Digest)
		}
	}
}
