package tardiff_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/go-composefs/composefs/oci/tardiff"
)

// program is compiled twice, with a little more in the second version.
const program = `package main

import (
	"fmt"
	"net/http"
	"os"
%s)

func main() {
	fmt.Println("version %s")
	http.Handle("/", http.FileServer(http.Dir(os.Args[1])))
%s	_ = http.ListenAndServe(":0", nil)
}
`

func compile(t *testing.T, version, imports, statements string) string {
	t.Helper()
	dir := t.TempDir()
	source, binary := dir+"/main.go", dir+"/main"
	if err := os.WriteFile(source, fmt.Appendf(nil, program, imports, version, statements), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", binary, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	data, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// versions returns two versions of a tree as an update of packages leaves them: a program that was compiled again, many small
// files of which some have changed, below a directory whose name has the version, and some that are new or gone.
func versions(t *testing.T) (old map[string]string, fresh []byte) {
	t.Helper()
	old = map[string]string{"usr/bin/server": compile(t, "1.0", "", "")}
	entries := []entry{file("usr/bin/server", compile(t, "1.1", "\t\"encoding/xml\"\n", "\t_ = xml.NewDecoder(os.Stdin).Decode(&struct{ A, B string }{})\n"))}
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	source, n := filepath.Join(strings.TrimSpace(string(root)), "src"), 0
	for _, part := range []string{"net", "crypto", "encoding", "go", "runtime"} {
		err := filepath.WalkDir(filepath.Join(source, part), func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, text := strings.TrimPrefix(filepath.ToSlash(path), filepath.ToSlash(source)), string(data)
			if n++; n%29 != 0 {
				old["usr/share/lib-1.0"+name] = text
			}
			switch {
			case n%31 == 0:
				return nil
			case n%10 == 0:
				text = strings.Replace(strings.ReplaceAll(text, "err != nil", "nil != err"), "\n\n", "\n// A line more.\n\n", 3)
			}
			entries = append(entries, file("usr/share/lib-1.1"+name, text))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return old, makeTar(t, entries...)
}

// A delta between two versions has to be a fraction of the layer, or it is not worth its trouble.
func TestDeltaOfAnUpdate(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles programs")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no Go toolchain")
	}
	contents, fresh := versions(t)
	start := time.Now()
	delta, stats := create(t, files(contents), fresh, tardiff.CreateOptions{})
	took := time.Since(start)
	var layer bytes.Buffer
	z, err := zstd.NewWriter(&layer, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(19)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(fresh); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("tar %d bytes, zstd layer %d, delta %d: 1/%.1f of the layer, made and applied in %v; %+v",
		len(fresh), layer.Len(), len(delta), float64(layer.Len())/float64(len(delta)), took.Round(time.Millisecond), stats)
	if len(delta)*4 > layer.Len() {
		t.Errorf("the delta has %d bytes, and the layer %d", len(delta), layer.Len())
	}
}
