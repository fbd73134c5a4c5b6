package splitstream_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/splitstream"
)

// Two SHA-256 names: of "hello" in a config, and a layer.
const (
	helloHex = "1111111111111111111111111111111111111111111111111111111111111111"
	layerHex = "2222222222222222222222222222222222222222222222222222222222222222"
)

// goldenHeader and oldHeader begin the same file, whose other bytes are goldenRest.
const (
	goldenHeader = `53706c697453747265616d 00 0000 01 0c
		2000000000000000 7000000000000000`
	oldHeader = `2000000000000000 7000000000000000
		0000 53706c697453747265616d 00 01 0c`
	goldenRest = `
		7000000000000000 9000000000000000
		9000000000000000 b000000000000000
		c400000000000000 e900000000000000
		b000000000000000 c400000000000000
		6f6369636f6e6667 0c00000000000000
		` + layerHex + `
		` + helloHex + `
		28b52ffd 00 58 590000 303a 7368613235363a78 00
		28b52ffd 00 58 e10000
			fdffffffffffffff 61623b
			0000000000000000
			ffffffffffffffff 2e`
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func digest(t testing.TB, s string) fsverity.Digest {
	t.Helper()
	d, err := fsverity.ParseDigest(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestBytesOfTheSpecificationAreRead(t *testing.T) {
	hello, layer := digest(t, helloHex), digest(t, layerHex)
	for _, header := range []string{goldenHeader, oldHeader} {
		r := open(t, unhex(t, header+goldenRest), splitstream.ReaderOptions{Algorithm: fsverity.SHA256})
		if r.ContentType() != splitstream.Config || r.Size() != 12 || r.Algorithm() != fsverity.SHA256 {
			t.Errorf("%v of %d bytes, %v", r.ContentType(), r.Size(), r.Algorithm())
		}
		if got := r.ObjectRefs(); !slices.Equal(got, []fsverity.Digest{hello}) {
			t.Errorf("object refs %v", got)
		}
		if got := r.StreamRefs(); !slices.Equal(got, []fsverity.Digest{layer}) {
			t.Errorf("stream refs %v", got)
		}
		if got := r.NamedRefs(); !slices.Equal(got, []splitstream.NamedRef{{Name: "sha256:x", Digest: layer}}) {
			t.Errorf("named refs %v", got)
		}
		if d, ok := r.Named("sha256:x"); !ok || d != layer {
			t.Errorf("Named: %v, %v", d, ok)
		}
		if d, ok := r.Named("sha256:"); ok {
			t.Errorf("a name that is not there: %v", d)
		}
		var b bytes.Buffer
		if _, err := r.WriteTo(&b, store{hello: []byte("{hello:}")}.open); err != nil || b.String() != "ab;{hello:}." {
			t.Errorf("the stream is %q, %v", &b, err)
		}
	}
}

// TestFileIsLaidOutAsComposefsRsDoes compares all that does not depend on the compressor.
func TestFileIsLaidOutAsComposefsRsDoes(t *testing.T) {
	file := write(t, splitstream.WriterOptions{ContentType: splitstream.Config},
		[]piece{{content: []byte("ab;")}, {[]byte("{hello:}"), digest(t, helloHex)}, {content: []byte(".")}},
		func(w *splitstream.Writer) { w.NamedRef("sha256:x", digest(t, layerHex)) })
	golden := unhex(t, goldenHeader+goldenRest)

	le := binary.LittleEndian
	named, stream := le.Uint64(file[80:]), le.Uint64(file[64:])
	if named != 176 || le.Uint64(file[88:]) != stream || le.Uint64(file[72:]) != uint64(len(file)) {
		t.Fatalf("not named refs, then the stream, to the end:\n%s", hex.Dump(file))
	}
	got := bytes.Clone(file[:named])
	copy(got[64:96], golden[64:96]) // where compressed sections end
	if !bytes.Equal(got, golden[:176]) {
		t.Errorf("got\n%swant\n%s", hex.Dump(got), hex.Dump(golden[:176]))
	}
	// Too short to be compressed, they are raw in the frames.
	if !bytes.Contains(file[named:stream], []byte("0:sha256:x\x00")) {
		t.Errorf("named refs:\n%s", hex.Dump(file[named:stream]))
	}
	if !bytes.Contains(file[stream:], golden[0xc4+9:]) {
		t.Errorf("stream:\n%s", hex.Dump(file[stream:]))
	}
}

// TestNameOfAFileChangesWithTheCompressorOnly pins a file's digest. A new version of the
// compressor may change it: layers stored before and after do not share a splitstream, which
// costs space, and CHANGELOG.md says so.
func TestNameOfAFileChangesWithTheCompressorOnly(t *testing.T) {
	var pieces []piece
	for i := range 3000 {
		pieces = append(pieces, piece{content: bytes.Repeat([]byte{byte(i), byte(i >> 8), 0, 0}, 128)})
	}
	d, err := fsverity.Sum(fsverity.SHA256, write(t, splitstream.WriterOptions{ContentType: splitstream.Layer}, pieces))
	if err != nil {
		t.Fatal(err)
	}
	if want := "b385fb8952fccd4e0ac19b135c146236826733cef87c1d6ba4cbf7ef8580b60b"; d.String() != want {
		t.Errorf("digest %v, want %v", d, want)
	}
}

func TestContentTypesReadAsTheirBytes(t *testing.T) {
	for typ, want := range map[splitstream.ContentType]string{
		splitstream.Layer:         "ocilayer",
		splitstream.Config:        "ociconfg",
		splitstream.Manifest:      "ocimanif",
		splitstream.Blob:          "oci_blob",
		splitstream.Index:         "ociindx",
		splitstream.OSTreeSummary: "osummary",
		splitstream.OSTreeCommit:  "0xafe138c18c463ef1",
		0:                         "0x0000000000000000",
		0x00610062:                "0x0000000000610062",
	} {
		if typ.String() != want {
			t.Errorf("%#x is %q, want %q", uint64(typ), typ, want)
		}
	}
}
