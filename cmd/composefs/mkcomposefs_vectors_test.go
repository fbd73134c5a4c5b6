package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/internal/testenv"
)

func TestVectors(t *testing.T) {
	var vectors []struct {
		Name, Dump, Stderr string
		Min, Max, RC       int
		Fsverity           string
	}
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		t.Run(fmt.Sprintf("%s %d %d", v.Name, v.Min, v.Max), func(t *testing.T) {
			o := ours(t, v.Dump, "mkcomposefs", "--from-file", "--print-digest-only",
				fmt.Sprintf("--min-version=%d", v.Min), fmt.Sprintf("--max-version=%d", v.Max), "-")
			switch {
			case v.Name == "whiteout-erange":
				// The C library miscounts and refuses; nothing is wrong with the tree.
				if o.exit != exitOK {
					t.Errorf("exit %d, %q", o.exit, o.stderr)
				}
			case o.exit != v.RC, v.RC == 0 && o.out != v.Fsverity+"\n":
				t.Errorf("exit %d, %q, %q, want %d, %q", o.exit, o.out, o.stderr, v.RC, v.Fsverity)
			case !strings.Contains(o.stderr, strings.TrimPrefix(v.Stderr, "mkcomposefs: ")):
				t.Errorf("stderr is %q, want %q", o.stderr, v.Stderr)
			}
		})
	}
}

// The dumps of the C project's tests: what should fail fails, and what should not gives an image
// whose dump gives the same image.
func TestSampleDumpsOfThePeer(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(testenv.Shared(t, "testdata/peer-dumps"), "*.dump*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		dump := string(readFile(t, file))
		switch filepath.Ext(name) {
		case ".gz":
			z, err := gzip.NewReader(strings.NewReader(dump))
			if err != nil {
				t.Fatal(err)
			}
			plain, err := io.ReadAll(z)
			if err != nil {
				t.Fatal(err)
			}
			dump = string(plain)
		case ".dump":
		default:
			continue // a checksum, or versions
		}
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			o := ours(t, dump, "mkcomposefs", "--from-file", "-", "image")
			if strings.HasPrefix(name, "should-fail") {
				if o.exit != exitFailed || o.stderr == "" {
					t.Errorf("exit %d, %q", o.exit, o.stderr)
				}
				return
			}
			if o.exit != exitOK {
				t.Fatalf("exit %d, %q", o.exit, o.stderr)
			}
			again := ours(t, "", "composefs-info", "dump", "image")
			if o := ours(t, again.out, "mkcomposefs", "--from-file", "-", "again"); o.exit != exitOK {
				t.Fatalf("exit %d, %q", o.exit, o.stderr)
			}
			if !bytes.Equal(readFile(t, "image"), readFile(t, "again")) {
				t.Error("the dump of the image gives another image")
			}
		})
	}
}
