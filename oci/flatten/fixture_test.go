package flatten_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/objects"
	"github.com/go-composefs/composefs/oci/flatten"
	"github.com/go-composefs/composefs/splitstream"
	"github.com/go-composefs/composefs/tree"
)

// memory is a store in memory.
type memory struct {
	alg     fsverity.Algorithm
	mu      sync.Mutex
	content map[fsverity.Digest][]byte
}

func newMemory(alg fsverity.Algorithm) *memory {
	return &memory{alg: alg, content: map[fsverity.Digest][]byte{}}
}

func (m *memory) PutBytes(_ context.Context, data []byte) (objects.Stored, error) {
	digest, err := fsverity.Sum(m.alg, data)
	if err != nil {
		return objects.Stored{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.content[digest] = bytes.Clone(data)
	return objects.Stored{Digest: digest}, nil
}

func (m *memory) PutReader(ctx context.Context, r io.Reader) (objects.Stored, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return objects.Stored{}, err
	}
	return m.PutBytes(ctx, data)
}

func (m *memory) OpenObject(n *tree.Inode) (io.ReadCloser, error) {
	data, ok := m.content[n.Digest]
	if !ok {
		return nil, fmt.Errorf("object %v: %w", n.Digest, tree.ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// split makes a splitstream of a tar.
func (m *memory) split(t testing.TB, archive []byte) *splitstream.Reader {
	t.Helper()
	w := splitstream.NewWriter(splitstream.WriterOptions{Algorithm: m.alg, ContentType: splitstream.Layer})
	defer w.Close()
	_, err := layer.Read(t.Context(), bytes.NewReader(archive), layer.Options{Store: m, Stream: w, NoTree: true})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if _, err := w.Finish(&file); err != nil {
		t.Fatal(err)
	}
	s, err := splitstream.Open(bytes.NewReader(file.Bytes()), int64(file.Len()), splitstream.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// flattenTars puts layers on top of each other.
func (m *memory) flatten(t testing.TB, opts flatten.Options, tars ...[]byte) (*tree.Inode, error) {
	t.Helper()
	f := flatten.New(opts)
	for i, archive := range tars {
		entries := layer.Entries(t.Context(), m.split(t, archive), layer.EntriesOptions{Store: m})
		if err := f.AddLayer(t.Context(), fmt.Sprint(i+1), entries); err != nil {
			return nil, err
		}
	}
	return f.Root(), nil
}

// mustFlatten is flatten where nothing may fail, of layers in SHA-256.
func mustFlatten(t testing.TB, layers ...[]entry) *tree.Inode {
	t.Helper()
	var tars [][]byte
	for _, entries := range layers {
		tars = append(tars, makeTar(t, entries...))
	}
	root, err := newMemory(fsverity.SHA256).flatten(t, flatten.Options{}, tars...)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// imageOf returns the digest of a tree's image.
func imageOf(t testing.TB, root *tree.Inode, format erofs.Format, alg fsverity.Algorithm) string {
	t.Helper()
	result, err := erofs.Write(io.Discard, root, erofs.WriteOptions{Format: format, Algorithm: alg})
	if err != nil {
		t.Fatal(err)
	}
	return result.Digest.String()
}

// lines tells what matters of a tree: mode, links, path, and content or target.
func lines(root *tree.Inode) []string {
	var list []string
	first := map[*tree.Inode]string{}
	for path, e := range tree.Walk(root) {
		n := e.Inode
		if e.Link {
			list = append(list, fmt.Sprintf("%s = %s", path, first[n]))
			continue
		}
		first[n] = string(path)
		line := fmt.Sprintf("%o %s", n.Mode, path)
		switch {
		case n.IsRegular():
			line += " " + string(n.Content)
		case n.IsSymlink():
			line += " -> " + n.Target
		}
		if n.Nlink > 1 {
			line += fmt.Sprintf(" (%d)", n.Nlink)
		}
		list = append(list, strings.TrimSpace(line))
	}
	return list
}

// entry is one of a tar made for a test.
type entry struct {
	tar.Header
	content string
}

func makeTar(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.content))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name, content string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, content}
}

func dir(name string, mode int64) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode}, ""}
}

func link(name, target string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}, ""}
}

func symlink(name, target string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}, ""}
}
