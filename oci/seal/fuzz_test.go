package seal

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/fsverity"
)

// What is read from annotations can be written again, and is the same then.
func FuzzReadAnnotations(f *testing.F) {
	// Small ones: the fuzzing engine takes its time with what is large.
	raw := []byte(`{"schemaVersion":2,"config":{"digest":"sha256:` + strings.Repeat("0", 64) + `","size":1,"annotations":{"a":"b"}},"layers":[{"digest":"sha256:` + strings.Repeat("1", 64) + `"}]}`)
	f.Add(raw)
	for _, layers := range []int{0, 1} {
		s := Seal{Digests: sample(f, fsverity.SHA256, layers)}
		s.Digests.Manifest = fsverity.Digest{}
		s.Signatures.Config, s.Signatures.Merged, s.Signatures.Bootable = []byte("c"), []byte("m"), []byte("b")
		out, err := Annotate(raw, s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(out)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		seals, err := ReadAnnotations(raw)
		if err != nil {
			return
		}
		for i, s := range seals {
			out, err := Annotate(raw, s)
			if err != nil {
				continue // the seal is incomplete, or there is no room
			}
			if !json.Valid(out) {
				t.Fatalf("not JSON: %q", out)
			}
			again, err := ReadAnnotations(out)
			if err != nil {
				t.Fatalf("read again: %v\n%s", err, out)
			}
			if diff := cmp.Diff(seals[i], again[i], sameDigests); diff != "" {
				t.Fatalf("seal %d (-first +again):\n%s", i, diff)
			}
		}
	})
}

// An artifact that is read can be made again, and says the same.
func FuzzReadArtifact(f *testing.F) {
	f.Add(readFile(f, "testdata/unsigned.json"), []byte{})
	about := ocispec.Descriptor{Digest: digest.FromString("x")}
	same := Signatures{Manifest: []byte("s"), Config: []byte("s"), Merged: []byte("s"), Bootable: []byte("s")}
	raw, _, err := Artifact(about, Seal{Digests: sample(f, fsverity.SHA256, 0), Signatures: same})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, []byte("s"))
	f.Fuzz(func(t *testing.T, raw, signature []byte) {
		var m struct {
			Subject struct{ Digest digest.Digest }
		}
		_ = json.Unmarshal(raw, &m) // which subject does not matter where it is no artifact
		about := m.Subject.Digest
		fetch := func(_ context.Context, d ocispec.Descriptor) ([]byte, error) {
			if d.Size < 1 || d.Size > MaxSignature {
				t.Fatalf("asked for %d bytes", d.Size)
			}
			return signature, nil
		}
		if _, err := ReadArtifact(t.Context(), raw, about, fetch); err != nil {
			// The signatures need not be there to compare the rest.
			fetch = nil
		}
		s, err := ReadArtifact(t.Context(), raw, about, fetch)
		if err != nil {
			return
		}
		again, blobs, err := Artifact(ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: about}, s)
		if err != nil {
			return // not everything is signed that has to be
		}
		got, err := ReadArtifact(t.Context(), again, about, fetchFrom(blobs))
		if err != nil {
			t.Fatalf("read again: %v\n%s", err, again)
		}
		if diff := cmp.Diff(s, got, sameDigests); diff != "" {
			t.Fatalf("seal (-first +again):\n%s", diff)
		}
	})
}

// Whatever a signature is, only the right one is by the golden signer.
func FuzzSignature(f *testing.F) {
	s := golden(f)
	d := sum(f, fsverity.SHA256, "image")
	f.Add(mustSign(f, s, d))
	f.Add(mustSign(f, &Signer{key: s.key, chain: s.chain, opts: SignerOptions{Bare: true, Now: atNow}}, d))
	f.Add(mustSign(f, newPair(f, "stranger").signer(f, SignerOptions{}), d))
	right, wrong := Verifier{Trust: NewTrust(s.Certificate()), Now: atNow}, sum(f, fsverity.SHA256, "other")
	f.Fuzz(func(t *testing.T, signature []byte) {
		if id, err := right.Check(d, signature); err == nil && id.Subject != "CN=golden,O=composefs tests" {
			t.Fatalf("signed by %s", id.Subject)
		}
		if _, err := right.Check(wrong, signature); err == nil {
			t.Fatal("taken for another digest's")
		}
	})
}

// A key is read or refused, and nobody is asked for a passphrase that is of no use.
func FuzzPrivateKey(f *testing.F) {
	f.Add(readFile(f, "testdata/golden.key"))
	f.Add(readFile(f, "testdata/encrypted.key"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if key, err := ParsePrivateKey(data, nil); err == nil && key.Public() == nil {
			t.Fatal("a key without a public one")
		}
	})
}
