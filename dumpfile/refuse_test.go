package dumpfile_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/dumpfile"
)

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
		{"a missing parent", rootLine + "/a/b 0 100644 1 0 0 0 0.0 - - -\n", "dump:2: path: Parent directory missing for /a/b"},
		{"a file as parent", rootLine + "/a 0 100644 1 0 0 0 0.0 - - -\n/a/b 0 100644 1 0 0 0 0.0 - - -\n", "dump:3: path: Parent must be a directory for /a/b"},
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
		{"a second of nanoseconds (C defect 34)", rootLine + "/a 0 100644 1 0 0 0 0.1000000000 - - -\n", "dump:2: mtime: 1000000000 nanoseconds"},
		{"nanoseconds beyond 32 bits (C defect 34)", rootLine + "/a 0 100644 1 0 0 0 0.4294967296 - - -\n", "dump:2: mtime: 4294967296 nanoseconds"},
		{"a digest with another digit (C defect 4)", rootLine + "/a 9 100644 1 0 0 0 0.0 x - " + digest[:63] + "g\n", "dump:2: digest: not hexadecimal"},
		{"a bad digest of a directory (C defect 4)", rootLine + "/a 9 40755 1 0 0 0 0.0 - - 5a\n", "dump:2: digest: 2 characters"},
		{"links in a circle of two (C defect 8)", rootLine + "/b 0 @100644 1 0 0 0 0.0 /c - -\n/c 0 @100644 1 0 0 0 0.0 /b - -\n", "dump:3: payload: hard links in a circle: /b"},
		{"a link to itself", rootLine + "/b 0 @100644 1 0 0 0 0.0 b/ - -\n", "dump:2: payload: Self-referential hardlink b/"},
		{"a link to a name below a link", rootLine + "/d 0 40755 1 0 0 0 0.0 - - -\n/d/a 0 100644 1 0 0 0 0.0 - - -\n/b 0 @100644 1 0 0 0 0.0 /d/a - -\n/c 0 @100644 1 0 0 0 0.0 /b/a - -\n", "dump:5: payload: No target at /b/a for hardlink"},
		{"a link with the mode of a directory", rootLine + "/a 0 @40755 1 0 0 0 0.0 /b - -\n", "dump:2: mode: Directories can't be hardlinked"},
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
		{"a name of 256 bytes", rootLine + "/" + strings.Repeat("n", 256) + " 0 100644 1 0 0 0 0.0 - - -\n", "dump:2: path: Can't add child: name of 256 bytes"},
		{"a slash at the end", rootLine + "/a 0 40755 1 0 0 0 0.0 - - -\n/a/ 0 100644 1 0 0 0 0.0 - - -\n", "dump:3: path: Can't add child: the name is empty"},
		{"an escaped slash in a name that is missing", rootLine + `/a\x2fb 0 100644 1 0 0 0 0.0 - - -` + "\n", "dump:2: path: Parent directory missing for /a/b"},
		{"a target of 4096 bytes", rootLine + "/a 0 120777 1 0 0 0 0.0 " + strings.Repeat("t", 4096) + " - -\n", "dump:2: payload: Invalid symlink"},
		{"a backing path of 4096 bytes", rootLine + "/a 1 100644 1 0 0 0 0.0 " + strings.Repeat("t", 4096) + " - -\n", "dump:2: payload: Invalid payload"},
		{"an attribute name of 256 bytes", rootLine + "/a 0 100644 1 0 0 0 0.0 - - - " + strings.Repeat("n", 256) + "=\n", "dump:2: xattrs: Can't set xattr: name of 256 bytes"},
		{"attributes of 65536 bytes", rootLine + "/a 0 100644 1 0 0 0 0.0 - - - a=" + strings.Repeat("v", 65534) + "\n", "dump:2: xattrs: Too many xattrs"},
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

func TestErrorsAreOneShortLine(t *testing.T) {
	long := strings.Repeat("/d", 1000)
	for _, tc := range []struct{ dump, want string }{
		{rootLine + "/a\\nb\\x1b[2J/c 0 100644 1 0 0 0 0.0 - - -\n", `dump:2: path: Parent directory missing for /a\nb\x1b[2J/c`},
		{rootLine + "/a 0 100644 1 \x1b 0 0 0.0 - - -\n", `dump:2: uid: Invalid integer \x1b`},
		{rootLine + long + " 0 100644 1 0 0 0 0.0 - - -\n", "dump:2: path: Parent directory missing for " + long[:200] + "..."},
	} {
		_, err := dumpfile.Read(strings.NewReader(tc.dump), dumpfile.ReadOptions{})
		if err == nil || err.Error() != tc.want {
			t.Errorf("got  %v\nwant %s", err, tc.want)
		}
	}
}

// endless gives the same byte for ever.
type endless byte

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(e)
	}
	return len(p), nil
}

func TestLinesThatNeverEnd(t *testing.T) {
	_, err := dumpfile.Read(endless('a'), dumpfile.ReadOptions{})
	if err == nil || !strings.Contains(err.Error(), "dump:1: line too long") {
		t.Errorf("got %v", err)
	}
}
