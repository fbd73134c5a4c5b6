package compress

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/vbatts/tar-split/tar/asm"
	"github.com/vbatts/tar-split/tar/storage"
)

// kindsTar returns a tar with an entry of every kind, and files of all sizes at which something changes.
func kindsTar(t testing.TB) []byte {
	t.Helper()
	at := time.Unix(1700000000, 5000)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, content []byte) {
		h.Size, h.ModTime = int64(len(content)), at
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Typeflag: tar.TypeDir, Name: "usr/", Mode: 0o755, Format: tar.FormatPAX, AccessTime: at}, nil)
	for i, size := range []int{0, 1, 511, 512, 513, 100_000, pieceSize - 1, pieceSize, pieceSize + 1, 2*pieceSize + 77} {
		content := make([]byte, size)
		rnd := rand.New(rand.NewPCG(uint64(i), 2))
		for j := 0; j < size; j += 1 + rnd.IntN(9) {
			content[j] = byte(rnd.IntN(4))
		}
		add(tar.Header{
			Typeflag: tar.TypeReg, Name: fmt.Sprintf("usr/file%d", i), Mode: 0o4755, Uid: 7, Gid: 8, Format: tar.FormatPAX,
			PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b\xff", "SCHILY.xattr.security.capability": "\x01\x00"},
		}, content)
	}
	add(tar.Header{Typeflag: tar.TypeLink, Name: "usr/hard", Linkname: "usr/file1"}, nil)
	add(tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/" + strings.Repeat("long", 60), Linkname: "file2"}, nil)
	add(tar.Header{Typeflag: tar.TypeChar, Name: "dev/null", Devmajor: 1, Devminor: 3}, nil)
	add(tar.Header{Typeflag: tar.TypeBlock, Name: "dev/sda", Devmajor: 8}, nil)
	add(tar.Header{Typeflag: tar.TypeFifo, Name: "dev/fifo"}, nil)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), make([]byte, 9*1024)...) // as tar(1) pads records
}

// chunk makes a zstd:chunked blob.
func chunk(t testing.TB, plain []byte, opts ChunkedOptions) ([]byte, map[string]string) {
	t.Helper()
	var b bytes.Buffer
	w, err := NewZstdChunked(&b, opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, bytes.NewReader(plain)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), w.Annotations()
}

func sha256Of(b []byte) string {
	sum := sha256.Sum256(b)
	return digestString(sum[:])
}

func unzstd(t testing.TB, blob []byte) []byte {
	t.Helper()
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	plain, err := z.DecodeAll(blob, nil)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// contents reads what the table of contents lists, each chunk by its place, and makes the tar again.
func contents(t testing.TB, blob []byte, toc *TOC) (files map[string][]byte, again []byte) {
	t.Helper()
	files = map[string][]byte{}
	for _, e := range toc.Entries {
		if e.Type != typeReg {
			continue
		}
		var content []byte
		for _, c := range e.Chunks {
			part := unzstd(t, blob[c.Offset:c.EndOffset])
			if sum := sha256.Sum256(part); int64(len(part)) != c.Size || digestString(sum[:]) != c.Digest || int64(len(content)) != c.FileOffset {
				t.Errorf("%s: chunk %+v has %d bytes", e.Name, c, len(part))
			}
			if c.Zeros && len(bytes.Trim(part, "\x00")) > 0 {
				t.Errorf("%s: chunk %+v is not of zeros", e.Name, c)
			}
			content = append(content, part...)
		}
		if sum := sha256.Sum256(content); int64(len(content)) != e.Size || e.Size > 0 && digestString(sum[:]) != e.Digest {
			t.Errorf("%s: %d bytes instead of %d", e.Name, len(content), e.Size)
		}
		files[e.Name] = content
	}
	if toc.TarSplitDigest == "" {
		return files, nil
	}
	split, err := toc.TarSplit(bytes.NewReader(blob))
	if err != nil {
		t.Fatal(err)
	}
	defer split.Close()
	getter := storage.NewBufferFileGetPutter()
	for name, content := range files {
		if _, _, err := getter.Put(name, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := asm.WriteOutputTarStream(getter, storage.NewJSONUnpacker(split), &out); err != nil {
		t.Fatalf("make the tar of tar-split again: %v", err)
	}
	return files, out.Bytes()
}

func TestTheTableOfContentsLeadsToAllContent(t *testing.T) {
	for name, plain := range map[string][]byte{
		"kinds": kindsTar(t), "empty": make([]byte, 1024), "many": sampleTar(t, 5<<20), "no end": sampleTar(t, 9<<10)[:9<<10],
	} {
		t.Run(name, func(t *testing.T) {
			if name == "no end" {
				// Up to the last entry that is whole.
				plain = plain[:len(sampleTar(t, 1))-1024]
			}
			blob, annotations := chunk(t, plain, ChunkedOptions{})
			if !bytes.Equal(unzstd(t, blob), plain) {
				t.Error("it decompresses to another tar")
			}
			toc, err := ReadTOC(bytes.NewReader(blob), int64(len(blob)), annotations)
			if err != nil {
				t.Fatal(err)
			}
			byFooter, err := ReadTOC(bytes.NewReader(blob), int64(len(blob)), nil)
			if diff := cmp.Diff(toc, byFooter, cmp.AllowUnexported(TOC{}, section{})); diff != "" || err != nil {
				t.Errorf("footer and annotations differ: %v\n%s", err, diff)
			}
			files, again := contents(t, blob, toc)
			if !bytes.Equal(again, plain) {
				t.Errorf("tar-split and contents make another tar, of %d bytes instead of %d", len(again), len(plain))
			}
			checkEntries(t, plain, toc, files)
		})
	}
}

// checkEntries holds a table of contents against what archive/tar reads.
func checkEntries(t *testing.T, plain []byte, toc *TOC, files map[string][]byte) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(plain))
	for i := 0; ; i++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			if i != len(toc.Entries) {
				t.Errorf("%d entries instead of %d", len(toc.Entries), i)
			}
			return
		}
		if err != nil || i >= len(toc.Entries) {
			t.Fatal(i, err)
		}
		e := toc.Entries[i]
		if e.Type != entryTypes[h.Typeflag] || e.Name != h.Name || e.Linkname != h.Linkname || e.Mode != h.Mode || e.Size != h.Size ||
			e.UID != h.Uid || e.GID != h.Gid || e.Devmajor != h.Devmajor || e.Devminor != h.Devminor || !e.ModTime.Equal(h.ModTime) {
			t.Errorf("entry %+v of header %+v", e, h)
		}
		if got, want := len(e.Xattrs), strings.Count(fmt.Sprint(h.PAXRecords), "SCHILY.xattr."); got != want {
			t.Errorf("%s: %d attributes instead of %d", e.Name, got, want)
		}
		content, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(files[h.Name], content) {
			t.Errorf("%s: other content, %v", h.Name, err)
		}
	}
}

func TestTheBytesDoNotDependOnTheNumberOfJobs(t *testing.T) {
	plain := sampleTar(t, 9<<20)
	kinds := map[string]func(io.Writer, int) (io.WriteCloser, error){
		"gzip": func(w io.Writer, jobs int) (io.WriteCloser, error) { return NewGzip(w, DefaultLevel, jobs) },
		"zstd": func(w io.Writer, jobs int) (io.WriteCloser, error) { return NewZstd(w, DefaultLevel, jobs) },
		"chunked": func(w io.Writer, jobs int) (io.WriteCloser, error) {
			return NewZstdChunked(w, ChunkedOptions{Jobs: jobs})
		},
	}
	for name, open := range kinds {
		t.Run(name, func(t *testing.T) {
			var first []byte
			for _, jobs := range []int{1, 7, 2, 0} {
				if testing.Short() && jobs != 1 && jobs != 7 {
					continue
				}
				blob := compressWith(t, func(w io.Writer) (io.WriteCloser, error) { return open(w, jobs) }, plain)
				if first == nil {
					first = blob
				}
				if !bytes.Equal(blob, first) {
					t.Errorf("%d jobs make other bytes", jobs)
				}
			}
		})
	}
}

func TestATarThatCannotBeChunkedIsRefused(t *testing.T) {
	entry := func(hs ...tar.Header) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range hs {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(make([]byte, h.Size)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	file := tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 3}
	whole := entry(file)
	sparse := entry(tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 512})
	copy(sparse[156:], "S")
	fixChecksum(sparse)
	for name, plain := range map[string][]byte{
		"noise":         bytes.Repeat([]byte("no tar"), 1000),
		"cut in header": whole[:300],
		"cut in file":   whole[:514],
		"twice":         entry(file, file),
		"global header": entry(tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"comment": "x"}}),
		"sparse":        sparse,
		"name no UTF-8": entry(tar.Header{Typeflag: tar.TypeReg, Name: "a\xff", Format: tar.FormatGNU}),
		"contiguous":    entry(tar.Header{Typeflag: tar.TypeCont, Name: "a"}),
	} {
		t.Run(name, func(t *testing.T) {
			w, err := NewZstdChunked(io.Discard, ChunkedOptions{})
			if err != nil {
				t.Fatal(err)
			}
			_, _ = w.Write(plain)
			if err := w.Close(); !errors.Is(err, ErrTar) {
				t.Errorf("%v", err)
			}
			if _, err := w.Write(plain); err == nil {
				t.Error("it can be written to after its end")
			}
		})
	}
}

// fixChecksum makes a header valid again.
func fixChecksum(header []byte) {
	copy(header[148:], "        ")
	sum := 0
	for _, b := range header[:512] {
		sum += int(b)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
}

// full fails after so many bytes.
type full struct{ left int }

var errFull = errors.New("no space left")

func (f *full) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestAWriterThatFailsEndsCompression(t *testing.T) {
	plain := sampleTar(t, 5<<20)
	for name, open := range map[string]func(io.Writer) (io.WriteCloser, error){
		"gzip":    func(w io.Writer) (io.WriteCloser, error) { return NewGzip(w, DefaultLevel, 2) },
		"zstd":    func(w io.Writer) (io.WriteCloser, error) { return NewZstd(w, DefaultLevel, 2) },
		"chunked": func(w io.Writer) (io.WriteCloser, error) { return NewZstdChunked(w, ChunkedOptions{Jobs: 2}) },
	} {
		for _, left := range []int{0, 5, 100_000, 1_000_000} {
			t.Run(fmt.Sprint(name, left), func(t *testing.T) {
				w, err := open(&full{left})
				if err != nil {
					t.Fatal(err)
				}
				_, err = w.Write(plain)
				if err = errors.Join(err, w.Close()); !errors.Is(err, errFull) {
					t.Errorf("%v", err)
				}
			})
		}
	}
}
