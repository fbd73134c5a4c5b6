package transport

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/manifest"
)

func TestFilesGiveBackWhatWasPut(t *testing.T) {
	i := makeImage(t, 3, 300_000)
	for _, format := range []string{"oci:%s/x", "oci:%s/x:v1", "oci:%s/x:docker.io/library/x:1", "oci-archive:%s/x.tar", "oci-archive:%s/x.tar:v1"} {
		t.Run(format, func(t *testing.T) {
			ref := fmt.Sprintf(format, t.TempDir())
			put(t, ref, Options{}, i)
			s := openSource(t, ref, Options{})
			checkImage(t, s, i)
			want := []string(nil)
			if name := parse(t, ref).Name(); name != "" {
				want = []string{name}
			}
			tags, err := s.Tags(t.Context())
			if diff := cmp.Diff(want, tags); diff != "" || err != nil {
				t.Errorf("tags: %v\n%s", err, diff)
			}
			desc, known, err := s.Head(t.Context())
			if err != nil || !known || desc.Digest != i.manifest.Digest {
				t.Errorf("head: %v %v %v", desc, known, err)
			}
			layer, data := i.big()
			r, err := s.BlobFrom(t.Context(), layer, 1000)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data[1000:]) {
				t.Errorf("from byte 1000: %v, %d bytes", err, len(got))
			}
		})
	}
}

func TestDockerArchiveGivesBackTheImageWithoutCompression(t *testing.T) {
	i := makeImage(t, 3, 300_000)
	dir := t.TempDir()
	ref := "docker-archive:" + dir + "/x.tar:library/x:v1"
	put(t, ref, Options{}, i)
	for _, ref := range []string{ref, "docker-archive:" + dir + "/x.tar", "docker-archive:" + dir + "/x.tar:@0", "docker-archive:" + dir + "/x.tar:x:v1"} {
		checkDockerArchive(t, ref, i)
	}
	for _, missing := range []string{":y:v1", ":@1"} {
		if _, err := OpenSource(t.Context(), parse(t, "docker-archive:"+dir+"/x.tar"+missing), Options{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", missing, err)
		}
	}
}

// checkDockerArchive compares an image in a docker-archive with what it was made of.
func checkDockerArchive(t *testing.T, ref string, want image) {
	t.Helper()
	s := openSource(t, ref, Options{})
	m, err := s.Manifest(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := manifest.ParseManifest(m.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if m.MediaType != manifest.DockerManifest || parsed.Config.Digest != want.parsed.Config.Digest {
		t.Errorf("%s: %s with configuration %s", ref, m.MediaType, parsed.Config.Digest)
	}
	if data, err := readBlob(t, s, parsed.Config); err != nil || !bytes.Equal(data, want.config) {
		t.Errorf("%s: configuration: %v", ref, err)
	}
	if len(parsed.Layers) != len(want.tars) {
		t.Fatalf("%s: %d layers", ref, len(parsed.Layers))
	}
	for n, layer := range parsed.Layers {
		data, err := readBlob(t, s, layer)
		if err != nil || !bytes.Equal(data, want.tars[n]) || layer.Digest != digest.FromBytes(want.tars[n]) {
			t.Errorf("%s: layer %d: %v, %d bytes of %s", ref, n, err, len(data), layer.Digest)
		}
	}
}

func TestLayoutHasSeveralImages(t *testing.T) {
	dir := t.TempDir()
	first, second, third := makeImage(t, 1, 1000), makeImage(t, 2, 1000), makeImage(t, 3, 1000)
	put(t, "oci:"+dir+":a", Options{}, first)
	put(t, "oci:"+dir+":b", Options{}, second)
	put(t, "oci:"+dir+":a", Options{}, third)
	checkImage(t, openSource(t, "oci:"+dir+":a", Options{}), third)
	checkImage(t, openSource(t, "oci:"+dir+":b", Options{}), second)
	checkImage(t, openSource(t, "oci:"+dir+"@"+first.manifest.Digest.String(), Options{}), first)
	s := openSource(t, "oci:"+dir, Options{})
	if _, err := s.Manifest(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "a, b") {
		t.Errorf("without a name: %v", err)
	}
	if _, err := openSource(t, "oci:"+dir+":c", Options{}).Manifest(t.Context(), ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("a name that is not there: %v", err)
	}
}

func TestWritersOfOneLayoutLoseNothing(t *testing.T) {
	dir := t.TempDir()
	images := []image{}
	for n := range 8 {
		images = append(images, makeImage(t, uint64(n%3), 1000))
	}
	var wait sync.WaitGroup
	for n, i := range images {
		wait.Go(func() { put(t, fmt.Sprintf("oci:%s:v%d", dir, n), Options{}, i) })
	}
	wait.Wait()
	for n, i := range images {
		checkImage(t, openSource(t, fmt.Sprintf("oci:%s:v%d", dir, n), Options{}), i)
	}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".tmp") {
			t.Errorf("left behind: %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestReferrersAreFound(t *testing.T) {
	i := makeImage(t, 3, 1000)
	s := startFaulty(t)
	dir := t.TempDir()
	for name, ref := range map[string]string{
		"registry": s.Host() + "/x:v1", "layout": "oci:" + dir + "/x:v1", "archive": "oci-archive:" + dir + "/x.tar:v1",
		"layout without a name": "oci:" + dir + "/y",
	} {
		t.Run(name, func(t *testing.T) {
			d := openDestination(t, ref, plainOptions(nil))
			putInto(t, d, i)
			for n := range 3 {
				artifactType := fmt.Sprintf("application/vnd.test.%d", n%2)
				m, empty := referrerOf(t, i.manifest.Descriptor(), artifactType, fmt.Sprint(n))
				if _, err := d.PutBlob(t.Context(), describe(ocispec.MediaTypeEmptyJSON, empty), bytes.NewReader(empty)); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if err := d.PutManifest(t.Context(), m, false); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := errors.Join(d.Commit(t.Context()), d.Close()); err != nil {
				t.Fatal(err)
			}
			source := openSource(t, ref, plainOptions(nil))
			checkImage(t, source, i)
			list, err := source.Referrers(t.Context(), i.manifest.Digest, "application/vnd.test.0")
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]bool{}
			for _, desc := range list {
				m, err := source.Manifest(t.Context(), desc.Digest)
				if err != nil {
					t.Fatal(err)
				}
				parsed, err := manifest.ParseManifest(m.Raw)
				got[parsed.Annotations["note"]] = true
				if err != nil || m.Descriptor().Size != desc.Size || desc.ArtifactType != "application/vnd.test.0" {
					t.Errorf("referrer %+v: %v", desc, err)
				}
			}
			if diff := cmp.Diff(map[string]bool{"0": true, "2": true}, got); diff != "" || len(list) != 2 {
				t.Errorf("referrers (-want +got):\n%s", diff)
			}
			if all, err := source.Referrers(t.Context(), i.manifest.Digest, ""); err != nil || len(all) != 3 {
				t.Errorf("of all types: %d, %v", len(all), err)
			}
			other := digest.FromString("other")
			if none, err := source.Referrers(t.Context(), other, ""); err != nil || len(none) != 0 {
				t.Errorf("of another: %v %v", none, err)
			}
		})
	}
}

func TestDestinationsRefuseWrongContent(t *testing.T) {
	s := startFaulty(t)
	dir := t.TempDir()
	good := []byte("what it is")
	desc := describe("application/octet-stream", good)
	for _, ref := range []string{s.Host() + "/x:v1", "oci:" + dir + "/x", "oci-archive:" + dir + "/x.tar", "docker-archive:" + dir + "/y.tar"} {
		t.Run(ref, func(t *testing.T) {
			d := openDestination(t, ref, plainOptions(nil))
			defer d.Close()
			for name, bad := range map[string][]byte{
				"other bytes": []byte("what it IS"), "too short": good[:5], "too long": append(good[:len(good):len(good)], "!"...), "empty": nil,
			} {
				if _, err := d.PutBlob(t.Context(), desc, bytes.NewReader(bad)); !errors.Is(err, ErrDigest) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if has, err := d.HasBlob(t.Context(), desc); has || err != nil {
				t.Errorf("the blob is there: %v %v", has, err)
			}
			broken := errors.New("broken")
			if _, err := d.PutBlob(t.Context(), desc, io.MultiReader(bytes.NewReader(good[:3]), failing{broken})); !errors.Is(err, broken) {
				t.Errorf("a reader that fails: %v", err)
			}
			got, err := d.PutBlob(t.Context(), ocispec.Descriptor{}, io.MultiReader(bytes.NewReader(good)))
			if err != nil || got.Digest != desc.Digest || got.Size != desc.Size {
				t.Errorf("without a descriptor: %+v %v", got, err)
			}
			if has, err := d.HasBlob(t.Context(), desc); !has || err != nil {
				t.Errorf("the blob is not there: %v", err)
			}
			i := makeImage(t, 1, 1000)
			i.manifest.Digest = desc.Digest
			if err := d.PutManifest(t.Context(), i.manifest, true); !errors.Is(err, ErrDigest) {
				t.Errorf("manifest with another digest: %v", err)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestArchiveThatIsNotCommittedLeavesNothing(t *testing.T) {
	for _, format := range []string{"oci-archive:%s:v1", "docker-archive:%s:x:v1"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "x.tar")
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		d := openDestination(t, fmt.Sprintf(format, path), Options{})
		putInto(t, d, makeImage(t, 1, 10_000))
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if data, _ := os.ReadFile(path); string(data) != "old" || len(entries) != 1 {
			t.Errorf("%s: the file holds %d bytes, the directory %v", format, len(data), entries)
		}
	}
}

func TestArchivesTakeBlobsFromManyAtOnce(t *testing.T) {
	for _, format := range []string{"oci-archive:%s/x.tar:v1", "docker-archive:%s/x.tar:x:v1", "oci:%s/x:v1"} {
		ref := fmt.Sprintf(format, t.TempDir())
		i := makeImage(t, 3, 100_000)
		d := openDestination(t, ref, Options{})
		var wait sync.WaitGroup
		for range 3 {
			for dgst, data := range i.blobs() {
				wait.Go(func() {
					if _, err := d.PutBlob(t.Context(), ocispec.Descriptor{Digest: dgst}, io.MultiReader(bytes.NewReader(data))); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wait.Wait()
		if err := errors.Join(d.PutManifest(t.Context(), i.manifest, true), d.Commit(t.Context()), d.Close()); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(format, "docker") {
			checkDockerArchive(t, ref, i)
		} else {
			checkImage(t, openSource(t, ref, Options{}), i)
		}
	}
}

func TestArchivesGoThroughPipes(t *testing.T) {
	i := makeImage(t, 3, 300_000)
	for _, format := range []string{"oci-archive:%s", "docker-archive:%s"} {
		fifo := filepath.Join(t.TempDir(), "fifo")
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		ref := fmt.Sprintf(format, fifo)
		var wait sync.WaitGroup
		wait.Go(func() { put(t, ref, Options{}, i) })
		// The writer opens the pipe only when it has everything.
		s := openSource(t, ref, Options{TempDir: t.TempDir()})
		wait.Wait()
		m, err := s.Manifest(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if format == "oci-archive:%s" && m.Digest != i.manifest.Digest {
			t.Errorf("manifest %s", m.Digest)
		}
	}
}

func TestCompressedArchivesAreRead(t *testing.T) {
	i := makeImage(t, 3, 300_000)
	dir := t.TempDir()
	path := filepath.Join(dir, "x.tar")
	put(t, "docker-archive:"+path, Options{}, i)
	plain, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"x.tar.gz": gz(t, plain), "x.tar.zst": z.EncodeAll(plain, nil)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		checkDockerArchive(t, "docker-archive:"+filepath.Join(dir, name), i)
	}
}

// entry is one of a hand-made tar.
type entry struct {
	header tar.Header
	data   string
}

func writeTar(t *testing.T, entries ...entry) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.header
		h.Size = int64(len(e.data))
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func file(name, data string) entry { return entry{tar.Header{Name: name, Mode: 0o644}, data} }

func link(kind byte, name, to string) entry {
	return entry{tar.Header{Name: name, Typeflag: kind, Linkname: to, Mode: 0o777}, ""}
}

func TestLegacyDockerArchive(t *testing.T) {
	i := makeImage(t, 3, 1000)
	json := `[{"Config":"abc.json","RepoTags":["x:v1","x:v2"],"Layers":["one/layer.tar","two/layer.tar"]}]`
	path := writeTar(t, entry{tar.Header{Name: "one/", Typeflag: tar.TypeDir, Mode: 0o755}, ""},
		file("one/VERSION", "1.0"), file("one/json", "{}"), link(tar.TypeSymlink, "one/layer.tar", "../three/layer.tar"),
		file("abc.json", string(i.config)), file("./three/layer.tar", string(i.tars[0])), file("four", string(i.tars[1])),
		link(tar.TypeLink, "two/layer.tar", "four"), file("manifest.json", json), file("repositories", "{}"))
	checkDockerArchive(t, "docker-archive:"+path, i)
	checkDockerArchive(t, "docker-archive:"+path+":x:v2", i)
}

func TestDockerArchiveWithCompressedLayers(t *testing.T) {
	i := makeImage(t, 3, 1000)
	blob := "blobs/sha256/" + i.parsed.Layers[1].Digest.Encoded()
	path := writeTar(t, file("config", string(i.config)), file("first", string(i.layers[0])), file(blob, string(i.layers[1])),
		file("manifest.json", `[{"Config":"config","RepoTags":null,"Layers":["first","`+blob+`"]}]`))
	s := openSource(t, "docker-archive:"+path, Options{})
	m, err := s.Manifest(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := manifest.ParseManifest(m.Raw)
	if err != nil {
		t.Fatal(err)
	}
	for n, layer := range parsed.Layers {
		data, err := readBlob(t, s, layer)
		if err != nil || !bytes.Equal(data, i.layers[n]) || layer.Digest != i.parsed.Layers[n].Digest || layer.MediaType != manifest.DockerLayerGzip {
			t.Errorf("layer %d: %v %+v", n, err, layer)
		}
	}
}

func TestHostileArchivesAreRefused(t *testing.T) {
	i := makeImage(t, 3, 1000)
	config := file("c", string(i.config))
	index := func(layers string) entry { return file("manifest.json", `[{"Config":"c","Layers":[`+layers+`]}]`) }
	tests := map[string]struct {
		path string
		want error
	}{
		"a link out":            {path: writeTar(t, config, link(tar.TypeSymlink, "l", "../../etc/passwd"), index(`"l","l"`))},
		"an absolute link":      {path: writeTar(t, config, link(tar.TypeSymlink, "l", "/etc/passwd"), index(`"l","l"`))},
		"a hard link out":       {path: writeTar(t, config, link(tar.TypeLink, "l", "../../etc/passwd"), index(`"l","l"`))},
		"a name out":            {path: writeTar(t, file("../x", ""), config, index(`"l","l"`))},
		"a layer out":           {path: writeTar(t, config, index(`"../../../etc/passwd","l"`))},
		"links in a circle":     {path: writeTar(t, config, link(tar.TypeSymlink, "a", "b"), link(tar.TypeSymlink, "b", "a"), index(`"a","b"`)), want: ErrLimit},
		"a device":              {path: writeTar(t, config, entry{tar.Header{Name: "d", Typeflag: tar.TypeChar}, ""}, index(`"d","d"`)), want: ErrUnsupported},
		"layers that are not":   {path: writeTar(t, config, index(`"x","y"`)), want: ErrNotFound},
		"too few layers":        {path: writeTar(t, config, index(``)), want: manifest.ErrInvalid},
		"no manifest.json":      {path: writeTar(t, config), want: ErrNotFound},
		"a huge manifest.json":  {path: writeTar(t, config, file("manifest.json", "["+strings.Repeat(" ", manifest.MaxSize)+"]")), want: ErrLimit},
		"a huge configuration":  {path: writeTar(t, file("c", strings.Repeat(" ", manifest.MaxSize+1)), index(`"x","y"`)), want: ErrLimit},
		"images without end":    {path: writeTar(t, config, file("manifest.json", "[]"))},
		"JSON that is not":      {path: writeTar(t, config, file("manifest.json", `{"x":`))},
		"no tar":                {path: writeFile(t, "no tar at all, but long enough to be read as a block"+strings.Repeat(".", 512))},
		"nothing":               {path: writeFile(t, ""), want: ErrNotFound},
		"half of a gzip header": {path: writeFile(t, "\x1f\x8b\x08"), want: io.ErrUnexpectedEOF},
		"a directory":           {path: t.TempDir()},
		"a path that is not":    {path: filepath.Join(t.TempDir(), "x"), want: ErrNotFound},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, transport := range []string{"docker-archive:", "oci-archive:"} {
				s, err := OpenSource(t.Context(), parse(t, transport+test.path), Options{})
				if err == nil {
					s.Close()
					t.Fatalf("%s: no error", transport)
				}
				if transport == "docker-archive:" && test.want != nil && !errors.Is(err, test.want) {
					t.Errorf("%s: %v, want %v", transport, err, test.want)
				}
			}
		})
	}
}

func writeFile(t *testing.T, data string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCutArchiveIsRefused(t *testing.T) {
	i := makeImage(t, 3, 100_000)
	path := filepath.Join(t.TempDir(), "x.tar")
	put(t, "oci-archive:"+path+":v1", Options{}, i)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	// The end and the index, which is the last entry, take less than 2048 bytes.
	for _, size := range []int64{0, 512, 700, info.Size() / 2, info.Size() - 2048} {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		if s, err := OpenSource(t.Context(), parse(t, "oci-archive:"+path+":v1"), Options{}); err == nil {
			s.Close()
			t.Errorf("cut to %d bytes: no error", size)
		}
		put(t, "oci-archive:"+path+":v1", Options{}, i)
	}
}

func TestBombIsRefused(t *testing.T) {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(z, zeros{}, bombFloor+10<<20); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := decompress(b.Bytes()[:4], &b)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); !errors.Is(err, ErrLimit) || n > bombFloor+1<<20 {
		t.Errorf("after %d bytes: %v", n, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestHostileLayoutsAreRefused(t *testing.T) {
	i := makeImage(t, 3, 1000)
	layer, _ := i.big()
	blob := filepath.Join("blobs", "sha256", layer.Digest.Encoded())
	secret := writeFile(t, strings.Repeat("s", int(layer.Size)))
	tests := map[string]func(dir string) error{
		"a link out": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, blob)), os.Symlink(secret, filepath.Join(dir, blob)))
		},
		"a pipe": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, blob)), syscall.Mkfifo(filepath.Join(dir, blob), 0o600))
		},
		"a directory": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, blob)), os.Mkdir(filepath.Join(dir, blob), 0o700))
		},
		"another size": func(dir string) error { return os.Truncate(filepath.Join(dir, blob), 3) },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, "oci:"+dir, Options{}, i)
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			if data, err := readBlob(t, openSource(t, "oci:"+dir, Options{}), layer); err == nil {
				t.Errorf("no error, %d bytes", len(data))
			}
		})
	}
	dir := t.TempDir()
	put(t, "oci:"+dir, Options{}, i)
	path := filepath.Join(dir, "blobs", "sha256", i.manifest.Digest.Encoded())
	if err := os.WriteFile(path, append(i.manifest.Raw, ' '), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openSource(t, "oci:"+dir, Options{}).Manifest(t.Context(), ""); !errors.Is(err, ErrDigest) {
		t.Errorf("a changed manifest: %v", err)
	}
}

func TestSparseFilesInArchivesAreRefused(t *testing.T) {
	program, err := exec.LookPath("tar")
	if err != nil {
		t.Skip("there is no tar here")
	}
	for _, format := range []string{"pax", "gnu"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "manifest.json")
		if err := os.WriteFile(path, []byte("[]"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 3<<20); err != nil {
			t.Fatal(err)
		}
		archive := filepath.Join(dir, "x.tar")
		if out, err := exec.Command(program, "--sparse", "--format="+format, "-C", dir, "-cf", archive, "manifest.json").CombinedOutput(); err != nil {
			t.Skipf("this tar makes no sparse files: %v %s", err, out)
		}
		if _, err := OpenSource(t.Context(), parse(t, "docker-archive:"+archive), Options{}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", format, err)
		}
	}
}

// FuzzArchive opens hostile archives of both kinds and reads what they claim to have.
func FuzzArchive(f *testing.F) {
	config := `{"rootfs":{"type":"layers","diff_ids":["` + someDigest + `"]}}`
	add := func(entries ...entry) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, e := range entries {
			e.header.Size = int64(len(e.data))
			if err := w.WriteHeader(&e.header); err != nil {
				f.Fatal(err)
			}
			if _, err := io.WriteString(w, e.data); err != nil {
				f.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	add(file("c", config), file("real", ""), link(tar.TypeSymlink, "l", "real"), file("manifest.json", `[{"Config":"c","Layers":["l"]}]`))
	raw := `{"schemaVersion":2,"config":{"digest":"` + someDigest + `","size":0},"layers":[]}`
	add(file("oci-layout", `{"imageLayoutVersion":"1.0.0"}`), file("blobs/sha256/"+digest.FromString(raw).Encoded(), raw),
		file("index.json", `{"schemaVersion":2,"manifests":[{"digest":"`+digest.FromString(raw).String()+`","size":7}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "x.tar")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, transport := range []string{"docker-archive:", "oci-archive:"} {
			s, err := OpenSource(t.Context(), parse(t, transport+path), Options{TempDir: filepath.Dir(path)})
			if err != nil {
				continue
			}
			if m, err := s.Manifest(t.Context(), ""); err == nil {
				parsed, err := manifest.ParseManifest(m.Raw)
				for _, layer := range parsed.Layers {
					got, readErr := readBlob(t, s, layer)
					if err == nil && readErr == nil && int64(len(got)) != layer.Size {
						t.Errorf("%d bytes of %d", len(got), layer.Size)
					}
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
