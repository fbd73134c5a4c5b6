package dumpfile_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/dumpfile"
	"github.com/go-composefs/composefs/internal/testenv"
)

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
