package compress

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"os"
	"testing"
)

// What a compressor makes stands behind its name in recipes. If one of these changes, with a new version of its module
// or of Go, then its name gets the next number, and there is a line in the changelog.
func TestACompressorMakesWhatItsNameStandsFor(t *testing.T) {
	if testing.Short() {
		t.Skip("the full test is enough")
	}
	header := &GzipHeader{Name: "a", ModTime: 1700000000, OS: 255}
	plain := sampleTar(t, 2_500_000)
	for _, c := range []struct {
		want   string
		recipe Recipe
	}{
		{"sha256:6274529c527bd2bd", Recipe{Compressor: "none"}},
		{"sha256:5856e7887cd1ceef", Recipe{Compressor: "go-gzip/1", Level: 1, Header: header}},
		{"sha256:43640260d80fe9f2", Recipe{Compressor: "go-gzip/1", Level: 6, Header: header}},
		{"sha256:0914022b0edf8067", Recipe{Compressor: "go-gzip/1", Level: 9, Header: header}},
		{"sha256:fcc5b4e6000884fc", Recipe{Compressor: "klauspost-gzip/1", Level: 5, Header: header}},
		{"sha256:d492ed04350e6280", Recipe{Compressor: "klauspost-gzip/1", Level: 9, Header: header}},
		{"sha256:0216bcefc3e4094d", Recipe{Compressor: "pgzip/1", Level: 1, Block: gzipBlock, Header: header}},
		{"sha256:d9c8b829dca3c6f8", Recipe{Compressor: "pgzip/1", Level: 5, Block: gzipBlock, Header: header}},
		{"sha256:794437980a5ca687", Recipe{Compressor: "pgzip/1", Level: 5, Block: umociBlock, Header: header}},
		{"sha256:8822bdeb52d919a7", Recipe{Compressor: "klauspost-zstd/1", Level: 1}},
		{"sha256:7058f91c454b9498", Recipe{Compressor: "klauspost-zstd/1", Level: 2}},
		{"sha256:85b269c1e2440ca8", Recipe{Compressor: "klauspost-zstd/1", Level: 3, NoChecksum: true}},
		{"sha256:9bf901edf9c5df6f", Recipe{Compressor: "klauspost-zstd-jobs/1", Level: 2, Window: zstdWindow}},
		{"sha256:30755372a808002b", Recipe{Compressor: "zstd-chunked/1", Level: 2}},
	} {
		sum := sha256.Sum256(compressWith(t, c.recipe.NewWriter, plain))
		if got := digestString(sum[:8]); got != c.want {
			t.Errorf("%+v makes %s and not %s", c.recipe, got, c.want)
		}
	}
}

// TestATableOfContentsOfPodman reads a blob that github.com/containers/storage 1.65 has made.
func TestATableOfContentsOfPodman(t *testing.T) {
	blob, err := os.ReadFile("testdata/podman.tar.zst")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/podman.annotations.json")
	if err != nil {
		t.Fatal(err)
	}
	var annotations map[string]string
	if err := json.Unmarshal(text, &annotations); err != nil {
		t.Fatal(err)
	}
	toc, err := ReadTOC(bytes.NewReader(blob), int64(len(blob)), annotations)
	if err != nil {
		t.Fatal(err)
	}
	plain := unzstd(t, blob)
	files, again := contents(t, blob, toc)
	if !bytes.Equal(again, plain) {
		t.Error("tar-split and contents make another tar")
	}
	checkEntries(t, plain, toc, files)
	chunks, zeros := 0, 0
	for _, e := range toc.Entries {
		chunks += len(e.Chunks)
		for _, c := range e.Chunks {
			if c.Zeros {
				zeros++
			}
		}
	}
	if chunks != 37 || zeros != 1 {
		t.Errorf("%d chunks, of which %d of zeros", chunks, zeros)
	}
}
