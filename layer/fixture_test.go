package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/objects"
	"github.com/go-composefs/composefs/splitstream"
	"github.com/go-composefs/composefs/tree"
)

// memory is a store in memory.
type memory struct {
	mu      sync.Mutex
	content map[fsverity.Digest][]byte
	fail    error // what every Put returns
	left    int   // how many succeed before that
}

func (m *memory) PutBytes(_ context.Context, data []byte) (objects.Stored, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left--; m.fail != nil && m.left < 0 {
		return objects.Stored{}, m.fail
	}
	digest, err := fsverity.Sum(fsverity.SHA256, data)
	if err != nil {
		return objects.Stored{}, err
	}
	if m.content == nil {
		m.content = map[fsverity.Digest][]byte{}
	}
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

// stream returns what the stream of a tar gives back.
func (m *memory) stream(t *testing.T, w *splitstream.Writer) []byte {
	t.Helper()
	var file, out bytes.Buffer
	if _, err := w.Finish(&file); err != nil {
		t.Fatal(err)
	}
	s, err := splitstream.Open(bytes.NewReader(file.Bytes()), int64(file.Len()), splitstream.ReaderOptions{ContentType: splitstream.Layer})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.WriteTo(&out, func(digest fsverity.Digest) (io.ReadCloser, error) {
		data, ok := m.content[digest]
		if !ok {
			return nil, errors.New("no object " + digest.String())
		}
		return io.NopCloser(bytes.NewReader(data)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// readBoth reads a tar and holds its stream against it.
func readBoth(t *testing.T, archive, plain []byte) *layer.Layer {
	t.Helper()
	store := &memory{}
	w := splitstream.NewWriter(splitstream.WriterOptions{ContentType: splitstream.Layer})
	defer w.Close()
	l, err := layer.Read(t.Context(), bytes.NewReader(archive), layer.Options{Store: store, Stream: w})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(store.stream(t, w), plain) {
		t.Error("the stream gives back another tar")
	}
	if l.Size != int64(len(plain)) {
		t.Errorf("size %d, want %d", l.Size, len(plain))
	}
	without, err := layer.Read(t.Context(), bytes.NewReader(archive), layer.Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if imageOf(t, without.Root) != imageOf(t, l.Root) || !bytes.Equal(without.DiffID, l.DiffID) || without.NoEnd != l.NoEnd {
		t.Error("without a stream the result is another one")
	}
	wantEntries(t, plain)
	return l
}

// imageOf returns the digest of a tree's image.
func imageOf(t *testing.T, root *tree.Inode) fsverity.Digest {
	t.Helper()
	result, err := erofs.Write(io.Discard, root, erofs.WriteOptions{Format: erofs.FormatV1})
	if err != nil {
		t.Fatal(err)
	}
	return result.Digest
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
