package tardiff_test

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"

	"github.com/go-composefs/composefs/oci/tardiff"
)

const magic = "tardf1\n\x00"

// operation is one of a delta that a test makes by hand.
type operation struct {
	op   byte
	size uint64
	data string
}

func open(path string) operation   { return operation{1, uint64(len(path)), path} }
func data(text string) operation   { return operation{0, uint64(len(text)), text} }
func add(text string) operation    { return operation{3, uint64(len(text)), text} }
func copied(size uint64) operation { return operation{2, size, ""} }
func seek(to uint64) operation     { return operation{4, to, ""} }
func encode(ops ...operation) []byte {
	var plain []byte
	for _, o := range ops {
		plain = append(plain, o.op)
		plain = binary.AppendUvarint(plain, o.size)
		plain = append(plain, o.data...)
	}
	return plain
}

// pack makes a delta of encoded operations.
func pack(t testing.TB, plain []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(magic), z.EncodeAll(plain, nil)...)
}

func delta(t testing.TB, ops ...operation) []byte {
	t.Helper()
	return pack(t, encode(ops...))
}

// files is an old image in memory.
func files(contents map[string]string) tardiff.OldFiles {
	m := fstest.MapFS{}
	for path, content := range contents {
		m[path] = &fstest.MapFile{Data: []byte(content), Mode: 0o644}
	}
	m["a-link"] = &fstest.MapFile{Data: []byte("etc"), Mode: fs.ModeSymlink}
	return tardiff.FromFS(m)
}

func apply(t testing.TB, delta []byte, source tardiff.Source) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := tardiff.Apply(t.Context(), bytes.NewReader(delta), source, &out, tardiff.ApplyOptions{MaxOutput: 1 << 20, MaxOps: 100})
	return out.String(), err
}
