package seal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/fsverity"
)

// subject is the image that the artifacts of the tests are about.
func subject(t *testing.T) ocispec.Descriptor {
	t.Helper()
	d := blob(ocispec.MediaTypeImageManifest, readFile(t, "testdata/manifest.json"))
	d.Annotations = map[string]string{"org.example.note": "not the artifact's business"}
	return d
}

// whole is the sample seal with all that an artifact can have.
func whole(t *testing.T, alg fsverity.Algorithm) Seal {
	t.Helper()
	s := Seal{Digests: sample(t, alg, 0)}
	var err error
	if s.Signatures, err = golden(t).SignAll(s.Digests); err != nil {
		t.Fatal(err)
	}
	return s
}

func artifact(t *testing.T, s Seal) ([]byte, Fetch) {
	t.Helper()
	raw, blobs, err := Artifact(subject(t), s)
	if err != nil {
		t.Fatal(err)
	}
	return raw, fetchFrom(blobs)
}

func fetchFrom(blobs []Blob) Fetch {
	return func(_ context.Context, d ocispec.Descriptor) ([]byte, error) {
		for _, b := range blobs {
			if b.Descriptor.Digest == d.Digest {
				return b.Data, nil
			}
		}
		return nil, errors.New("no such blob")
	}
}

func TestArtifactIsTheGoldenOne(t *testing.T) {
	raw, _ := artifact(t, whole(t, fsverity.SHA512))
	goldenFile(t, "artifact.json", raw)
	unsigned := Seal{Digests: sample(t, fsverity.SHA256, 0)}
	unsigned.Digests.Manifest, unsigned.Digests.Bootable = fsverity.Digest{}, fsverity.Digest{}
	raw, _ = artifact(t, unsigned)
	goldenFile(t, "unsigned.json", raw)
}

func TestArtifactIsReadBack(t *testing.T) {
	onlyMerged := Seal{Digests: Digests{Algorithm: fsverity.SHA256, Merged: sum(t, fsverity.SHA256, "merged")}}
	noBoot := whole(t, fsverity.SHA512)
	noBoot.Digests.Bootable, noBoot.Signatures.Bootable = fsverity.Digest{}, nil
	for name, want := range map[string]Seal{
		"signed": whole(t, fsverity.SHA512), "unsigned": {Digests: sample(t, fsverity.SHA256, 0)}, "merged tree only": onlyMerged, "not bootable": noBoot,
	} {
		t.Run(name, func(t *testing.T) {
			raw, fetch := artifact(t, want)
			got, err := ReadArtifact(t.Context(), raw, subject(t).Digest, fetch)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, sameDigests); diff != "" {
				t.Errorf("seal (-want +got):\n%s", diff)
			}
			got, err = ReadArtifact(t.Context(), raw, subject(t).Digest, nil)
			if err != nil || got.Signatures.Any() {
				t.Errorf("without fetching: %v, %v", got.Signatures, err)
			}
		})
	}
}

func TestLayersAreNotInArtifacts(t *testing.T) {
	s := whole(t, fsverity.SHA256)
	want, _ := artifact(t, s)
	s.Digests.Layers, s.Signatures.Layers = []fsverity.Digest{sum(t, fsverity.SHA256, "x")}, [][]byte{[]byte("x")}
	if got, _ := artifact(t, s); !bytes.Equal(got, want) {
		t.Errorf("they made a difference:\n%s", got)
	}
}

func TestArtifactsWithoutWhatTheyNeedAreNotMade(t *testing.T) {
	good := whole(t, fsverity.SHA512)
	for name, change := range map[string]func(s *Seal){
		"no merged tree":           func(s *Seal) { s.Digests.Merged, s.Signatures.Merged = fsverity.Digest{}, nil },
		"manifest not signed":      func(s *Seal) { s.Signatures.Manifest = nil },
		"config not signed":        func(s *Seal) { s.Signatures.Config = nil },
		"no digest of the config":  func(s *Seal) { s.Digests.Config, s.Signatures.Config = fsverity.Digest{}, nil },
		"bootable tree not signed": func(s *Seal) { s.Signatures.Bootable = nil },
		"signature of nothing":     func(s *Seal) { s.Digests.Bootable = fsverity.Digest{} },
	} {
		s := good
		change(&s)
		if raw, _, err := Artifact(subject(t), s); !errors.Is(err, ErrIncomplete) {
			t.Errorf("%s: error %v, want %v; artifact %s", name, err, ErrIncomplete, raw)
		}
	}
	if _, _, err := Artifact(ocispec.Descriptor{Digest: "sha256:x"}, good); !errors.Is(err, ErrMalformed) {
		t.Errorf("subject without a digest: %v", err)
	}
}

func TestBadArtifactsAreRefused(t *testing.T) {
	good, fetch := artifact(t, whole(t, fsverity.SHA512))
	key := func(p Part) string { return p.Key(fsverity.SHA512) }
	tests := []struct {
		name   string
		change func(m *ocispec.Manifest)
		want   error
	}{
		{"as it is", func(*ocispec.Manifest) {}, nil},
		{"other annotations", func(m *ocispec.Manifest) { m.Layers[0].Annotations["org.example"] = "x" }, nil},
		{"without manifest and config", func(m *ocispec.Manifest) { m.Layers = m.Layers[2:] }, nil},
		{"another type", func(m *ocispec.Manifest) { m.ArtifactType = "application/vnd.example" }, ErrNotSeal},
		{"no type", func(m *ocispec.Manifest) { m.ArtifactType = "" }, ErrNotSeal},
		{"Docker's manifest", func(m *ocispec.Manifest) { m.MediaType = "application/vnd.docker.distribution.manifest.v2+json" }, ErrNotSeal},
		{"another subject", func(m *ocispec.Manifest) { m.Subject.Digest = digest.FromString("x") }, ErrSubject},
		{"no subject", func(m *ocispec.Manifest) { m.Subject = nil }, ErrMalformed},
		{"config that is not empty", func(m *ocispec.Manifest) { m.Config.Digest = digest.FromString("x") }, ErrMalformed},
		{"no layers", func(m *ocispec.Manifest) { m.Layers = nil }, ErrIncomplete},
		{"no merged tree", func(m *ocispec.Manifest) { m.Layers = m.Layers[:2] }, ErrIncomplete},
		{"config before manifest", func(m *ocispec.Manifest) { m.Layers[0], m.Layers[1] = m.Layers[1], m.Layers[0] }, ErrOrder},
		{"bootable before merged", func(m *ocispec.Manifest) { m.Layers[2], m.Layers[3] = m.Layers[3], m.Layers[2] }, ErrOrder},
		{"merged twice", func(m *ocispec.Manifest) { m.Layers[3] = m.Layers[2] }, ErrDuplicate},
		{"two parts in one", func(m *ocispec.Manifest) { m.Layers[2].Annotations[key(Config)] = m.Layers[1].Annotations[key(Config)] }, ErrDuplicate},
		{"two algorithms in one", func(m *ocispec.Manifest) {
			m.Layers[2].Annotations[Merged.Key(fsverity.SHA256)] = sum(t, fsverity.SHA256, "x").String()
		}, ErrDuplicate},
		{"two algorithms", func(m *ocispec.Manifest) {
			m.Layers[3].Annotations = map[string]string{Bootable.Key(fsverity.SHA256): sum(t, fsverity.SHA256, "x").String()}
		}, ErrMixed},
		{"two block sizes", func(m *ocispec.Manifest) {
			m.Layers[3].Annotations = map[string]string{Bootable.Key(fsverity.SHA512x64): sum(t, fsverity.SHA512, "x").String()}
		}, ErrMixed},
		{"digest of another hash", func(m *ocispec.Manifest) {
			m.Layers[0].Annotations[key(Manifest)] = sum(t, fsverity.SHA256, "x").String()
		}, ErrMixed},
		{"a layer's digest", func(m *ocispec.Manifest) {
			m.Layers[1].Annotations = map[string]string{key(Layer): m.Layers[1].Annotations[key(Config)]}
		}, ErrMalformed},
		{"inline signature", func(m *ocispec.Manifest) { m.Layers[1].Annotations[Config.SignatureKey(fsverity.SHA512)] = "AAAA" }, ErrMalformed},
		{"no annotation", func(m *ocispec.Manifest) { m.Layers[1].Annotations = nil }, ErrMalformed},
		{"upper case", func(m *ocispec.Manifest) {
			m.Layers[0].Annotations[key(Manifest)] = sum(t, fsverity.SHA512, "x").String()[1:] + "A"
		}, ErrMalformed},
		{"another media type", func(m *ocispec.Manifest) { m.Layers[0].MediaType = "application/pgp-signature" }, ErrMalformed},
		{"empty signature", func(m *ocispec.Manifest) { m.Layers[0].Size = 0 }, ErrMalformed},
		{"huge signature", func(m *ocispec.Manifest) { m.Layers[0].Size = MaxSignature + 1 }, ErrTooLarge},
		{"negative size", func(m *ocispec.Manifest) { m.Layers[0].Size = -1 }, ErrMalformed},
		{"no digest", func(m *ocispec.Manifest) { m.Layers[0].Digest = "" }, ErrMalformed},
		{"weak digest", func(m *ocispec.Manifest) { m.Layers[0].Digest = "md5:d41d8cd98f00b204e9800998ecf8427e" }, ErrMalformed},
		{"another size than the blob's", func(m *ocispec.Manifest) { m.Layers[0].Size-- }, ErrWrongDigest},
		{"too many", func(m *ocispec.Manifest) {
			for range MaxLayers {
				m.Layers = append(m.Layers, m.Layers[0])
			}
		}, ErrTooLarge},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var m ocispec.Manifest
			if err := json.Unmarshal(good, &m); err != nil {
				t.Fatal(err)
			}
			test.change(&m)
			raw, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if s, err := ReadArtifact(t.Context(), raw, subject(t).Digest, fetch); !errors.Is(err, test.want) || err == nil && test.want != nil {
				t.Errorf("error %v, want %v; seal %v", err, test.want, s.Digests)
			}
		})
	}
}

func TestBlobsOfArtifactsAreChecked(t *testing.T) {
	raw, fetch := artifact(t, whole(t, fsverity.SHA256))
	gone := errors.New("gone")
	for name, test := range map[string]struct {
		fetch Fetch
		want  error
	}{
		"another of the same size": {func(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
			data, err := fetch(ctx, d)
			data = bytes.Clone(data)
			data[len(data)-1] ^= 1
			return data, err
		}, ErrWrongDigest},
		"longer": {func(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
			data, err := fetch(ctx, d)
			return append(bytes.Clone(data), 0), err
		}, ErrWrongDigest},
		"nothing": {func(context.Context, ocispec.Descriptor) ([]byte, error) { return nil, nil }, ErrWrongDigest},
		"gone":    {func(context.Context, ocispec.Descriptor) ([]byte, error) { return nil, gone }, gone},
	} {
		if _, err := ReadArtifact(t.Context(), raw, subject(t).Digest, test.fetch); !errors.Is(err, test.want) {
			t.Errorf("%s: error %v, want %v", name, err, test.want)
		}
	}
}
