package containersstorage_test

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/vbatts/tar-split/tar/asm"
	"github.com/vbatts/tar-split/tar/storage"

	"github.com/go-composefs/composefs/oci/containersstorage"
)

// FuzzTarSplit holds what comes of a tar-split against what the module makes of it that defines the format.
func FuzzTarSplit(f *testing.F) {
	hello := fileLine("etc/a", "hello world")
	f.Add([]byte(`{"type":2,"payload":"YWJj","position":0}` + "\n" + hello + "\n" + `{"type":1,"name":"d/","payload":null,"position":2}` + "\n"))
	f.Add([]byte(`{"type":2,"payload":"","position":01}` + "\n\n" + `{"payload":"YQ==","type":2}` + hello))
	f.Add([]byte(`{"type":1,"name_raw":"ZXRjL2E=","size":11,"payload":"` + checksum("hello world") + `"}`))
	f.Add([]byte(`{"type":1,"name":"../etc/a","size":-1,"payload":null}`))
	g := newGraph(f)
	g.simple("localhost/a:latest")
	g.layers[0].Size = 1 << 20
	g.save()
	i, err := containersstorage.Open(f.Context(), "a", containersstorage.Options{Root: g.root})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = i.Close() })
	l := i.Layers()[0]
	f.Fuzz(func(t *testing.T, lines []byte) {
		if len(lines) > 1<<16 {
			return
		}
		g.t = t
		g.write("overlay-layers/"+l.ID+".tar-split.gz", compress(t, string(lines)))
		got, err := readAll(t, l)
		parts, _, errParts := joined(t, l)
		if (err == nil) != (errParts == nil) || err == nil && !bytes.Equal(got, parts) {
			t.Errorf("reader: %d bytes, %v; segments: %d bytes, %v", len(got), err, len(parts), errParts)
		}
		if len(got) > 1<<20 {
			t.Errorf("%d bytes", len(got))
		}
		if err != nil {
			return
		}
		var want bytes.Buffer
		unpacker := storage.NewJSONUnpacker(bytes.NewReader(lines))
		// It refuses names that come twice, and reads JSON that is not one object a line.
		if err := asm.WriteOutputTarStream(oneFile{}, unpacker, &want); err == nil && !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%q, tar-split has %q", got, want.Bytes())
		}
	})
}

// oneFile is the diff directory for tar-split.
type oneFile struct{}

func (oneFile) Get(string) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader([]byte("hello world"))), nil
}

// FuzzLists reads records that nobody made on purpose; what they lead to has to be in the storage.
func FuzzLists(f *testing.F) {
	g := newGraph(f)
	archive := g.simple("localhost/a:latest")
	for _, name := range []string{"a", "sha256:" + g.images[0].ID} {
		f.Add(name, read(f, g, "overlay-images/images.json"), read(f, g, "overlay-layers/layers.json"))
	}
	f.Add("[overlay@/nowhere]a", []byte("[{}]"), []byte(`[{"id":"../x","parent":"y"}]`))
	f.Fuzz(func(t *testing.T, name string, images, layers []byte) {
		g.t = t
		g.write("overlay-images/images.json", images)
		g.write("overlay-layers/layers.json", layers)
		i, err := containersstorage.Open(t.Context(), name, containersstorage.Options{Root: g.root})
		if err != nil {
			return
		}
		defer i.Close()
		if digest.FromBytes(i.Config()).Encoded() != i.ID {
			t.Errorf("image %s has another configuration", i.ID)
		}
		for _, l := range i.Layers() {
			if got, err := readAll(t, l); err == nil && !bytes.Equal(got, archive) {
				t.Errorf("layer %+v has %d bytes", l, len(got))
			}
		}
	})
}

func read(t testing.TB, g *graph, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(g.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
