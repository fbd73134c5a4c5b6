package seal

import (
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/fsverity"
)

func TestWholeChainIsVerified(t *testing.T) {
	p := newPair(t, "signer")
	stranger := newPair(t, "stranger")
	computed := sample(t, fsverity.SHA512, 2)
	good := Seal{Digests: computed}
	var err error
	if good.Signatures, err = p.signer(t, SignerOptions{}).SignAll(computed); err != nil {
		t.Fatal(err)
	}
	verifier := &Verifier{Trust: NewTrust(p.cert), Now: atNow}
	everything := []Part{Manifest, Config, Layer, Merged, Bootable}
	x := sum(t, fsverity.SHA512, "x")
	// other copies the layers, which the cases change.
	other := func(change func(c *Digests, s *Seal)) (Digests, Seal) {
		c, s := computed, good
		c.Layers = append([]fsverity.Digest(nil), c.Layers...)
		s.Digests.Layers = append([]fsverity.Digest(nil), s.Digests.Layers...)
		s.Signatures.Layers = append([][]byte(nil), s.Signatures.Layers...)
		change(&c, &s)
		return c, s
	}
	tests := []struct {
		name   string
		change func(c *Digests, s *Seal)
		want   Requirements
		err    error
		words  string
	}{
		{"all is well", func(*Digests, *Seal) {}, Requirements{verifier, everything, everything}, nil, ""},
		{"nothing is asked", func(*Digests, *Seal) {}, Requirements{}, nil, ""},
		{"only digests", func(_ *Digests, s *Seal) { s.Signatures = Signatures{} }, Requirements{Sealed: everything}, nil, ""},
		{"nothing at all", func(c *Digests, s *Seal) { *c, *s = Digests{}, Seal{} }, Requirements{}, nil, ""},
		{"another manifest", func(c *Digests, _ *Seal) { c.Manifest = x }, Requirements{}, ErrWrongDigest, "verify manifest: wrong digest: the image has"},
		{"another config", func(c *Digests, _ *Seal) { c.Config = x }, Requirements{}, ErrWrongDigest, "verify config"},
		{"another second layer", func(c *Digests, _ *Seal) { c.Layers[1] = x }, Requirements{}, ErrWrongDigest, "verify layer 1"},
		{"another tree", func(c *Digests, _ *Seal) { c.Merged = x }, Requirements{}, ErrWrongDigest, "verify merged"},
		{"another bootable tree", func(c *Digests, _ *Seal) { c.Bootable = x }, Requirements{}, ErrWrongDigest, "verify merged.bootable"},
		{"a layer more", func(c *Digests, _ *Seal) { c.Layers = append(c.Layers, x) }, Requirements{Sealed: everything}, ErrMissing, "verify layer 2"},
		{"a layer less", func(c *Digests, _ *Seal) { c.Layers = c.Layers[:1] }, Requirements{Sealed: everything}, ErrMissing, "verify layer 1"},
		{"no layers", func(c *Digests, s *Seal) { c.Layers, s.Digests.Layers, s.Signatures.Layers = nil, nil, nil }, Requirements{Sealed: everything}, ErrMissing, "layers are missing"},
		{"not sealed", func(_ *Digests, s *Seal) { *s = Seal{} }, Requirements{Sealed: []Part{Merged}}, ErrMissing, "verify merged: digest in the seal is missing"},
		{"not computed", func(c *Digests, _ *Seal) { c.Merged = fsverity.Digest{} }, Requirements{Sealed: []Part{Merged}}, ErrMissing, "digest of the image itself is missing"},
		{"not computed, not asked for", func(c *Digests, _ *Seal) { c.Layers, c.Bootable = nil, fsverity.Digest{} }, Requirements{verifier, nil, []Part{Merged}}, nil, ""},
		{"signature is not computed for", func(c *Digests, _ *Seal) { c.Merged = fsverity.Digest{} }, Requirements{verifier, nil, []Part{Merged}}, ErrMissing, "verify merged"},
		{"not signed", func(_ *Digests, s *Seal) { s.Signatures.Config = nil }, Requirements{verifier, nil, []Part{Config}}, ErrMissing, "verify config: signature is missing"},
		{"not signed, not asked for", func(_ *Digests, s *Seal) { s.Signatures.Config = nil }, Requirements{verifier, nil, []Part{Merged}}, nil, ""},
		{"one layer is not signed", func(_ *Digests, s *Seal) { s.Signatures.Layers[1] = nil }, Requirements{verifier, nil, []Part{Layer}}, ErrMissing, "verify layer 1"},
		{"signature of the layer before", func(_ *Digests, s *Seal) { s.Signatures.Layers[1] = s.Signatures.Layers[0] }, Requirements{Verifier: verifier}, ErrWrongDigest, "it is the signature of layer 0"},
		{"swapped signatures", func(_ *Digests, s *Seal) {
			s.Signatures.Config, s.Signatures.Merged = s.Signatures.Merged, s.Signatures.Config
		}, Requirements{Verifier: verifier}, ErrWrongDigest, "it is the signature of config"},
		{"signature of something else", func(_ *Digests, s *Seal) { s.Signatures.Merged = p.sign(t, x) }, Requirements{Verifier: verifier}, ErrWrongDigest, "verify merged: check signature"},
		{"signed by a stranger", func(_ *Digests, s *Seal) { s.Signatures.Merged = stranger.sign(t, computed.Merged) }, Requirements{verifier, nil, []Part{Merged}}, ErrUntrusted, "CN=stranger"},
		{"signed by a stranger, not asked for", func(_ *Digests, s *Seal) { s.Signatures.Layers[0] = stranger.sign(t, computed.Layers[0]) }, Requirements{verifier, nil, []Part{Merged}}, ErrUntrusted, "verify layer 0"},
		{"seal and signature are of another image", func(_ *Digests, s *Seal) { s.Digests.Merged, s.Signatures.Merged = x, p.sign(t, x) }, Requirements{verifier, nil, []Part{Merged}}, ErrWrongDigest, "verify merged: wrong digest: the image has"},
		{"garbage as signature", func(_ *Digests, s *Seal) { s.Signatures.Merged = []byte("x") }, Requirements{Verifier: verifier}, ErrMalformed, "verify merged: read signature"},
		{"garbage as signature, nobody to check it", func(_ *Digests, s *Seal) { s.Signatures.Merged = []byte("x") }, Requirements{}, nil, ""},
		{"signatures are asked for, certificates are not there", func(*Digests, *Seal) {}, Requirements{Signed: []Part{Merged}}, ErrUntrusted, "no certificates"},
		{"nobody is trusted", func(*Digests, *Seal) {}, Requirements{&Verifier{Now: atNow}, nil, []Part{Merged}}, ErrUntrusted, ""},
		{"other algorithm", func(_ *Digests, s *Seal) { s.Digests.Algorithm = fsverity.SHA512x64 }, Requirements{}, ErrMixed, "fsverity-sha512-16"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, s := other(test.change)
			r := Verify(c, s, test.want)
			if !errors.Is(r.Err(), test.err) || (r.Err() == nil) != (test.err == nil) || r.OK != (test.err == nil) {
				t.Fatalf("error %v, want %v; ok %v", r.Err(), test.err, r.OK)
			}
			if test.err != nil && !strings.Contains(r.Err().Error(), test.words) {
				t.Errorf("error %q, want %q in it", r.Err(), test.words)
			}
		})
	}
}

func TestReportTellsEachPart(t *testing.T) {
	p := newPair(t, "signer")
	computed := sample(t, fsverity.SHA256, 1)
	s := Seal{Digests: computed, Signatures: Signatures{Config: p.sign(t, computed.Config), Merged: p.sign(t, computed.Config)}}
	s.Digests.Layers = []fsverity.Digest{sum(t, fsverity.SHA256, "x")}
	computed.Bootable = fsverity.Digest{}
	text, err := json.Marshal(Verify(computed, s, Requirements{Verifier: &Verifier{Trust: NewTrust(p.cert), Now: atNow}, Signed: []Part{Manifest}}))
	if err != nil {
		t.Fatal(err)
	}
	type part struct {
		Part, Digest, Signature string
		Layer                   *int
		Computed, Sealed        string
		Reason                  string
		Signer                  *struct{ Subject, Fingerprint string }
	}
	var got struct {
		Algorithm string
		OK        bool
		Parts     []part
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, p := range got.Parts {
		line := p.Part + " " + p.Digest + " " + p.Signature
		if p.Layer != nil {
			line += " layer"
		}
		if p.Signer != nil {
			line += " " + p.Signer.Subject
		}
		if p.Reason != "" {
			line += " refused"
		}
		lines = append(lines, line)
	}
	want := []string{
		"manifest good absent refused",
		"config good good CN=signer",
		"layer bad absent layer refused",
		"merged good bad refused",
		"merged.bootable unchecked absent",
	}
	if diff := cmp.Diff(want, lines); diff != "" || got.OK || got.Algorithm != "fsverity-sha256-12" {
		t.Errorf("report %s\nparts (-want +got):\n%s", text, diff)
	}
}

func TestOneReasonOfManyPartsIsToldOnce(t *testing.T) {
	stranger := newPair(t, "stranger")
	computed := sample(t, fsverity.SHA256, 9)
	signatures, err := stranger.signer(t, SignerOptions{}).SignAll(computed)
	if err != nil {
		t.Fatal(err)
	}
	r := Verify(computed, Seal{Digests: computed, Signatures: signatures}, Requirements{Verifier: &Verifier{Now: atNow}})
	got := r.Err()
	if !errors.Is(got, ErrUntrusted) || strings.Count(got.Error(), "CN=stranger") != 1 || !strings.HasPrefix(got.Error(), "verify manifest, config, layer 0, layer 1,") || !strings.Contains(got.Error(), "and 5 more: ") {
		t.Errorf("error %v", got)
	}
}

func TestManyWrongSignaturesAreNotComparedWithAllLayers(t *testing.T) {
	p := certify(t, "signer", newECDSA(t, elliptic.P256()), nil)
	computed := sample(t, fsverity.SHA256, 2)
	wrong := p.sign(t, computed.Layers[1])
	for len(computed.Layers) <= maxGuesses {
		computed.Layers = append(computed.Layers, computed.Layers[0])
	}
	s := Seal{Digests: computed}
	s.Signatures.Config = wrong
	r := Verify(computed, s, Requirements{Verifier: &Verifier{Trust: NewTrust(p.cert), Now: atNow}})
	if !errors.Is(r.Err(), ErrWrongDigest) || strings.Contains(r.Err().Error(), "it is the signature of") {
		t.Errorf("error %v", r.Err())
	}
}

func TestDocumentsCloseTheChain(t *testing.T) {
	config := []byte(`{"architecture":"amd64"}`)
	manifest := func(d digest.Digest) []byte {
		return []byte(`{"schemaVersion":2,"config":{"mediaType":"x","digest":"` + d.String() + `","size":24},"layers":[]}`)
	}
	raw := manifest(digest.FromBytes(config))
	d, err := Documents(fsverity.SHA512, digest.FromBytes(raw), raw, config)
	if err != nil {
		t.Fatal(err)
	}
	want := Digests{Algorithm: fsverity.SHA512, Manifest: sum(t, fsverity.SHA512, string(raw)), Config: sum(t, fsverity.SHA512, string(config))}
	if diff := cmp.Diff(want, d, sameDigests); diff != "" {
		t.Errorf("digests (-want +got):\n%s", diff)
	}
	if _, err := Documents(fsverity.SHA512, "", raw, config); err != nil {
		t.Errorf("manifest whose digest is not known: %v", err)
	}
	for name, test := range map[string]struct {
		digest           digest.Digest
		manifest, config []byte
		want             error
	}{
		"another manifest":         {digest.FromString("x"), raw, config, ErrWrongDigest},
		"another config":           {"", raw, []byte(`{"architecture":"arm64"}`), ErrWrongDigest},
		"config cut off":           {"", raw, config[:23], ErrWrongDigest},
		"config of SHA-512":        {"", manifest(digest.SHA512.FromBytes(config)), config, nil},
		"bad digest":               {"sha256:0", raw, config, ErrMalformed},
		"manifest that is no JSON": {"", []byte("x"), config, ErrMalformed},
		"no config in it":          {"", []byte("{}"), config, ErrMalformed},
		"weak digest in it":        {"", manifest("md5:d41d8cd98f00b204e9800998ecf8427e"), config, ErrMalformed},
	} {
		if _, err := Documents(fsverity.SHA256, test.digest, test.manifest, test.config); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: error %v, want %v", name, err, test.want)
		}
	}
	if _, err := Documents(fsverity.Algorithm{Hash: 9, BlockBits: 12}, "", raw, config); !errors.Is(err, fsverity.ErrAlgorithm) {
		t.Errorf("unknown algorithm: %v", err)
	}
}

func TestLabelOfOlderImages(t *testing.T) {
	tree := sum(t, fsverity.SHA512, "tree")
	config := func(value string) []byte {
		return []byte(`{"Size":1,"config":{"Env":[],"Labels":{"org.example":"x","containers.composefs.fsverity":` + value + `}}}`)
	}
	good := config(`"` + tree.String() + `"`)
	other512, other256 := sum(t, fsverity.SHA512, "x"), sum(t, fsverity.SHA256, "x")
	for name, test := range map[string]struct {
		config []byte
		trees  []fsverity.Digest
		want   error
	}{
		"right":                {good, []fsverity.Digest{tree}, nil},
		"one of two":           {good, []fsverity.Digest{other512, tree}, nil},
		"wrong":                {good, []fsverity.Digest{other512, other256}, ErrWrongDigest},
		"under another hash":   {good, []fsverity.Digest{other256}, ErrMissing},
		"nothing to compare":   {good, nil, ErrMissing},
		"no label":             {[]byte(`{"config":{"Labels":{}}}`), nil, nil},
		"no labels":            {[]byte(`{"config":{"Labels":null}}`), nil, nil},
		"no config":            {[]byte(`{}`), nil, nil},
		"not hexadecimal":      {config(`"sha512:x"`), nil, ErrMalformed},
		"a number":             {config(`1`), nil, ErrMalformed},
		"twice":                {config(`"` + tree.String() + `","containers.composefs.fsverity":""`), nil, ErrDuplicate},
		"labels that are none": {[]byte(`{"config":{"Labels":[]}}`), nil, ErrMalformed},
		"labels in other case": {[]byte(`{"config":{"labels":{}}}`), nil, ErrMalformed},
		"config that is none":  {[]byte(`{"config":5}`), nil, ErrMalformed},
		"no JSON":              {[]byte(`{`), nil, ErrMalformed},
	} {
		if err := CheckLabel(test.config, test.trees...); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: error %v, want %v", name, err, test.want)
		}
	}
	if got, err := ReadLabel(good); err != nil || got != tree {
		t.Errorf("label %v, %v; want %v", got, err, tree)
	}
}

func TestPartsAreTexts(t *testing.T) {
	for _, p := range parts {
		var back Part
		text, err := p.MarshalText()
		if err == nil {
			err = back.UnmarshalText(text)
		}
		if err != nil || back != p {
			t.Errorf("%s is read as %v, %v", text, back, err)
		}
	}
	if p, err := ParsePart("bootable"); err != nil || p != Bootable {
		t.Errorf("bootable is %v, %v", p, err)
	}
	if p, err := ParsePart("tree"); !errors.Is(err, ErrMalformed) {
		t.Errorf("tree is %v, %v", p, err)
	}
}
