package fsverity_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/fsverity"
)

// FuzzHasher writes data in pieces, asks for the digest in between, and compares with the model.
func FuzzHasher(f *testing.F) {
	f.Add([]byte("hello world"), uint16(0), uint16(5), uint8(0), []byte(nil))
	f.Add([]byte{1}, uint16(4095), uint16(4096), uint8(1), []byte("salt"))
	f.Add([]byte{2, 3}, uint16(65535), uint16(1), uint8(2), []byte(nil))
	f.Fuzz(func(t *testing.T, seed []byte, repeat, step uint16, algorithm uint8, salt []byte) {
		alg := algorithms[int(algorithm)%len(algorithms)]
		salt = salt[:min(len(salt), 32)]
		data := bytes.Repeat(seed, 1+int(repeat)/max(1, len(seed)))
		h, err := fsverity.NewHasher(fsverity.Options{Algorithm: alg, Salt: salt})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = h.Write(data)
		h.Reset()
		pieces := 0
		for rest := data; len(rest) > 0; pieces++ {
			n := min(len(rest), 1+(int(step)+pieces*int(repeat))%70000)
			if k, err := h.Write(rest[:n]); k != n || err != nil {
				t.Fatalf("Write of %d bytes gives %d, %v", n, k, err)
			}
			rest = rest[n:]
			if pieces < 3 {
				h.Digest()
			}
		}
		if got, want := h.Digest().String(), model(alg, salt, data); got != want {
			t.Errorf("%v, salt of %d, %d bytes in %d pieces: %s, want %s", alg, len(salt), len(data), pieces, got, want)
		}
	})
}

// FuzzParse holds that text which is taken for a digest or an algorithm is its own form.
func FuzzParse(f *testing.F) {
	f.Add("fsverity-sha256-12")
	f.Add("sha512")
	f.Add(strings.Repeat("5A", 32))
	f.Add(strings.Repeat("0f", 64))
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := fsverity.ParseDigest(text); err == nil {
			if d.String() != strings.ToLower(text) || d.Hash().Size() != len(text)/2 {
				t.Errorf("%q is parsed as %v", text, d)
			}
			if again, err := fsverity.DigestFromBytes(d.Bytes()); err != nil || again != d {
				t.Errorf("%v from its bytes is %v, %v", d, again, err)
			}
			if path := d.ObjectPath(); strings.Replace(path, "/", "", 1) != d.String() || path[2] != '/' {
				t.Errorf("%v has the object path %q", d, path)
			}
		} else if !d.IsZero() {
			t.Errorf("%q is both %v and %v", text, d, err)
		}
		if a, err := fsverity.ParseAlgorithm(text); err == nil {
			if got := a.String(); !a.Valid() || (got != text && got != "fsverity-"+text+"-12") {
				t.Errorf("%q is parsed as %v", text, a)
			}
		}
	})
}
