package dumpfile_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/dumpfile"
	"github.com/go-composefs/composefs/internal/testenv"
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

func TestVectors(t *testing.T) {
	data, err := os.ReadFile("../testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name, Dump, Stderr string
		RC                 int
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			root, err := dumpfile.Read(strings.NewReader(v.Dump), dumpfile.ReadOptions{})
			if v.RC != 0 && !strings.Contains(v.Stderr, "cannot write file") {
				reason := strings.TrimSpace(strings.TrimPrefix(v.Stderr, "mkcomposefs: "))
				if err == nil || !strings.Contains(err.Error(), reason) {
					t.Errorf("error is %v, want %q", err, reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			once := write(t, root)
			if again := write(t, read(t, once)); again != once {
				t.Errorf("not a fixed point:\n%s\nthen\n%s", once, again)
			}
		})
	}
}

func TestPeersRefusedDumps(t *testing.T) {
	dir := testenv.Shared(t, "testdata/peer-dumps")
	reasons := map[string]string{
		"big-inline":           "Inline content size 5004 exceeds maximum 5000",
		"dir-hardlink":         "Directories can't be hardlinked",
		"dot-name":             "Invalid . or .. in path",
		"dotdot-name":          "Invalid . or .. in path",
		"empty-link-name":      "Invalid symlink",
		"empty-name":           "Can't add child",
		"empty-xattr-key":      "Can't set xattr",
		"honggfuzz-long-xattr": "Can't set xattr",
		"long-link":            "Invalid symlink",
		"long-xattr-key":       "Too many xattrs",
		"long-xattr-value":     "Invalid mode",
		"no-ftype":             "Invalid mode",
		"self-hardlink":        "Self-referential hardlink",
		"too-big":              "File too large",
	}
	paths, err := filepath.Glob(filepath.Join(dir, "should-fail-*.dump"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "should-fail-"), ".dump")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = dumpfile.Read(bytes.NewReader(data), dumpfile.ReadOptions{})
			if want := reasons[name]; want == "" || err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error is %v, want %q", err, want)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	digest := strings.Repeat("5a", 32)
	for _, tc := range []struct {
		name, dump, want string
	}{
		{"nothing", "", "dump: No files in dump file"},
		{"an empty line", rootLine + "\n", "dump:2: path: Invalid empty path"},
		{"a file before the root", "/a 0 100644 1 0 0 0 0.0 - - -\n", "dump:1: path: Root node not present"},
		{"two roots", rootLine + rootLine, "dump:2: path: Can't have multiple roots"},
		{"a root that is a file", "/ 0 100644 1 0 0 0 0.0 - - -\n", "dump:1: path: Root must be a directory"},
		{"a missing parent", rootLine + "/a/b 0 100644 1 0 0 0 0.0 - - -\n", "Parent directory missing for /a"},
		{"a file as parent", rootLine + "/a 0 100644 1 0 0 0 0.0 - - -\n/a/b 0 100644 1 0 0 0 0.0 - - -\n", "dump:3: path: Parent must be a directory for /a"},
		{"a hard link as parent", rootLine + "/d 0 40755 1 0 0 0 0.0 - - -\n/a 0 @100644 1 0 0 0 0.0 /d - -\n/a/b 0 100644 1 0 0 0 0.0 - - -\n", "Parent must be a directory"},
		{"the same name twice", rootLine + "/a 0 100644 1 0 0 0 0.0 - - -\n/a 0 100644 1 0 0 0 0.0 - - -\n", "dump:3: path: Can't add child: /a exists already"},
		{"the same name twice, not adjacent", rootLine + "/b 0 100644 1 0 0 0 0.0 - - -\n/a 0 100644 1 0 0 0 0.0 - - -\n/b 0 100644 1 0 0 0 0.0 - - -\n", "dump:4: path: Can't add child: /b exists already"},
		{"bad gid with uid 1 (C defect 11)", rootLine + "/a 0 100644 1 1 x 0 0.0 - - -\n", `dump:2: gid: Invalid integer x`},
		{"bad rdev with uid 1 (C defect 11)", rootLine + "/a 0 100644 1 1 1 y 0.0 - - -\n", `dump:2: rdev: Invalid integer y`},
		{"short digest (C defect 4)", rootLine + "/a 9 100644 1 0 0 0 0.0 x - 5a5a\n", "dump:2: digest: "},
		{"carriage return (C defect 4)", rootLine + "/a 9 100644 1 0 0 0 0.0 x - -\r\n", "dump:2: digest: "},
		{"long digest (C defect 4)", rootLine + "/a 9 100644 1 0 0 0 0.0 x - " + digest + "00\n", "dump:2: digest: "},
		{"empty digest (C defect 4)", rootLine + "/a 9 100644 1 0 0 0 0.0 x -\n", "dump:2: digest: missing"},
		{"escaped NUL in the path (C defect 15)", rootLine + `/a\x00b 0 100644 1 0 0 0 0.0 - - -` + "\n", "dump:2: path: escaped NUL"},
		{"escaped NUL in the payload (C defect 15)", rootLine + `/a 0 120777 1 0 0 0 0.0 t\x00 - -` + "\n", "dump:2: payload: escaped NUL"},
		{"escaped NUL in a key (C defect 15)", rootLine + `/a 0 100644 1 0 0 0 0.0 - - - user.\x00=` + "\n", "dump:2: xattrs: escaped NUL"},
		{"wrapping size (C defect 22)", rootLine + "/a -1 100644 1 0 0 0 0.0 x - -\n", "dump:2: size: File too large"},
		{"links in a circle of three (C defect 8)", rootLine + "/b 0 @100644 1 0 0 0 0.0 /c - -\n/c 0 @100644 1 0 0 0 0.0 /b - -\n/a 0 @100644 1 0 0 0 0.0 /b - -\n", "hard links in a circle"},
		{"link to a directory (C defect 9)", rootLine + "/d 0 40755 1 0 0 0 0.0 - - -\n/a 0 @100644 1 0 0 0 0.0 /d - -\n", "dump:3: payload: Directories can't be hardlinked"},
		{"link to the root (C defect 9)", rootLine + "/a 0 @100644\n", "dump:2: payload: Directories can't be hardlinked"},
		{"link to nothing", rootLine + "/a 0 @100644 1 0 0 0 0.0 /b - -\n", "dump:2: payload: No target at /b for hardlink"},
		{"link without a target", rootLine + "/a 0 @100644 1 0 0 0 0.0 - - -\n", "No target path for the hardlink"},
		{"NUL", rootLine + "/a\x00", "dump:2: Invalid embedded NUL character at position 2"},
		{"unknown escape", rootLine + `/\q 0 100644 1 0 0 0 0.0 - - -`, "Unsupported escape type q"},
		{"cut escape", rootLine + `/\`, "No character after escape"},
		{"cut hex escape", rootLine + `/\x1`, "No hex characters after hex escape"},
		{"bad hex escape", rootLine + `/\xzz`, "Invalid hex characters after hex escape"},
		{"time without a dot", rootLine + "/a 0 100644 1 0 0 0 1 - - -\n", "dump:2: mtime: Invalid integer (empty) after the dot"},
		{"content of another size", rootLine + "/a 3 100644 1 0 0 0 0.0 - ab -\n", "Invalid content size 2, must match size 3"},
		{"two spaces before xattrs", rootLine + "/a 0 100644 1 0 0 0 0.0 - - -  user.a=b\n", "Missing = in xattr"},
		{"xattrs that cost too much", rootLine + "/a 0 100644 1 0 0 0 0.0 - - - user.a=" + strings.Repeat("v", 32767-12-7-6+1) + "\n", "Can't set xattr"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := dumpfile.Read(strings.NewReader(tc.dump), dumpfile.ReadOptions{})
			if err == nil || !strings.Contains(err.Error(), tc.want) || !errors.Is(err, dumpfile.ErrSyntax) {
				t.Errorf("error is %v, want %q", err, tc.want)
			}
		})
	}
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

func TestDeepDirectoriesTakeNoSquareOfTime(t *testing.T) {
	var dump strings.Builder
	dump.WriteString(rootLine)
	path := ""
	for range 5000 {
		path += "/d"
		fmt.Fprintf(&dump, "%s 0 40755 1 0 0 0 0.0 - - -\n", path)
	}
	if got := write(t, read(t, dump.String())); got != dump.String() {
		t.Error("the dump changes")
	}
}

// osDump is a dump shaped like that of an OS image, of about n lines.
func osDump(n int) []byte {
	var b bytes.Buffer
	const label = "security.selinux=system_u:object_r:usr_t:s0\\x00"
	b.WriteString("/ 0 40755 1 0 0 0 1700000000.0 - - - " + label + "\n")
	for i := range n {
		if i%1000 == 0 {
			fmt.Fprintf(&b, "/top%07d 0 40755 1 0 0 0 1700000000.0 - - - %s\n", i/1000, label)
		}
		if i%20 == 0 {
			fmt.Fprintf(&b, "/top%07d/dir%07d 0 40755 1 0 0 0 1700000000.0 - - - %s\n", i/1000, i/20, label)
		}
		sum := sha256.Sum256(fmt.Append(nil, i-i%8/7))
		fmt.Fprintf(&b, "/top%07d/dir%07d/file%07d.so %d 100644 1 0 0 0 1700000000.0 %x/%x - %x %s\n",
			i/1000, i/20, i, 100+i, sum[:1], sum[1:], sum, label)
	}
	return b.Bytes()
}

func BenchmarkRead(b *testing.B) {
	dump := osDump(64000)
	b.SetBytes(int64(len(dump)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := dumpfile.Read(bytes.NewReader(dump), dumpfile.ReadOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	root := read(b, string(osDump(64000)))
	b.ReportAllocs()
	for b.Loop() {
		var n countWriter
		if err := dumpfile.Write(&n, root, dumpfile.WriteOptions{}); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(n))
	}
}

type countWriter int64

func (n *countWriter) Write(p []byte) (int, error) {
	*n += countWriter(len(p))
	return len(p), nil
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(rootLine))
	f.Add([]byte(rootLine + "/b 0 @100644 1 0 0 0 0.0 /a - -\n/a 3 100644 2 0 0 0 -1.9 - abc - user.a=b\n"))
	f.Add([]byte(rootLine + `/\x2d 0 20644 1 0 0 259 1.1 - - - trusted.overlay.opaque=y` + "\n"))
	f.Add(osDump(3))
	f.Fuzz(func(t *testing.T, dump []byte) {
		root, err := dumpfile.Read(bytes.NewReader(dump), dumpfile.ReadOptions{})
		if err != nil {
			if !errors.Is(err, dumpfile.ErrSyntax) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		once := write(t, root)
		if again := write(t, read(t, once)); again != once {
			t.Errorf("not a fixed point:\n%s\nthen\n%s", once, again)
		}
	})
}
