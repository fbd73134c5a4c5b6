package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/fsverity"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// goldenFile compares bytes with those of a file.
func goldenFile(t *testing.T, name string, got []byte) {
	t.Helper()
	name = "testdata/" + name
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := readFile(t, name); !bytes.Equal(got, want) {
		t.Errorf("not the bytes of %s:\n%s", name, got)
	}
}

// sameDigests lets cmp compare digests.
var sameDigests = cmp.Comparer(func(a, b fsverity.Digest) bool { return a == b })

// inline is the sample without what inline seals have not.
func inline(t *testing.T, alg fsverity.Algorithm) Seal {
	t.Helper()
	d := sample(t, alg, 2)
	d.Manifest = fsverity.Digest{}
	s := Seal{Digests: d}
	var err error
	if s.Signatures, err = golden(t).SignAll(d); err != nil {
		t.Fatal(err)
	}
	return s
}

func annotated(t *testing.T, raw []byte, s Seal) []byte {
	t.Helper()
	out, err := Annotate(raw, s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestInlineSealIsTheGoldenOne(t *testing.T) {
	raw := readFile(t, "testdata/manifest.json")
	signed := inline(t, fsverity.SHA512)
	goldenFile(t, "signed.json", annotated(t, raw, signed))
	goldenFile(t, "sealed.json", annotated(t, raw, Seal{Digests: inline(t, fsverity.SHA256).Digests}))
}

func TestInlineSealIsReadBack(t *testing.T) {
	raw := readFile(t, "testdata/manifest.json")
	small, large := inline(t, fsverity.SHA256), inline(t, fsverity.SHA512)
	large.Digests.Layers, large.Signatures.Layers = nil, nil
	out := annotated(t, annotated(t, raw, large), small)
	got, err := ReadAnnotations(out)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Seal{small, large}, got, sameDigests); diff != "" {
		t.Errorf("seals (-want +got):\n%s", diff)
	}
	if found, ok := Find(got, fsverity.SHA512); !ok || found.Digests.Merged != large.Digests.Merged {
		t.Errorf("found %v, %v", found.Digests, ok)
	}
	if _, ok := Find(got, fsverity.SHA256x64); ok {
		t.Error("found one under an algorithm of which there is none")
	}
}

func TestSealingAgainReplacesOnlyTheSeal(t *testing.T) {
	raw := readFile(t, "testdata/manifest.json")
	signed := inline(t, fsverity.SHA512)
	once := annotated(t, raw, signed)
	if again := annotated(t, once, signed); !bytes.Equal(once, again) {
		t.Errorf("the same seal again changes the manifest:\n%s", again)
	}
	unsigned := Seal{Digests: signed.Digests}
	unsigned.Digests.Bootable, unsigned.Digests.Layers = fsverity.Digest{}, nil
	replaced := annotated(t, once, unsigned)
	if bytes.Contains(replaced, []byte(".sig")) || bytes.Contains(replaced, []byte("bootable")) || bytes.Contains(replaced, []byte("composefs.layer")) {
		t.Errorf("something of the old seal is left:\n%s", replaced)
	}
	// The second layer has annotations of its own, the first had none but the seal's.
	strip := func(text []byte) any {
		var m map[string]any
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		var walk func(v any)
		walk = func(v any) {
			switch v := v.(type) {
			case map[string]any:
				for k, inner := range v {
					if _, _, _, ok := ParseKey(k); ok {
						delete(v, k)
						continue
					}
					walk(inner)
					if m, ok := inner.(map[string]any); ok && k == "annotations" && len(m) == 0 {
						delete(v, k)
					}
				}
			case []any:
				for _, inner := range v {
					walk(inner)
				}
			}
		}
		walk(m)
		return m
	}
	if diff := cmp.Diff(strip(raw), strip(replaced)); diff != "" {
		t.Errorf("the rest changed (-before +after):\n%s", diff)
	}
}

func TestUnknownFieldsKeepTheirSpelling(t *testing.T) {
	out := annotated(t, readFile(t, "testdata/manifest.json"), inline(t, fsverity.SHA256))
	for _, want := range []string{
		`"x-vendor":{"b":1.50,"a":[1e3,"<&>",null]}`, `"urls":["https://example.com/?a=1&b=2"]`, `"first \u003c"`, `"subject":null`,
		`"composefs.later.erofs.v2.fsverity-sha512-12":"kept"`,
	} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("%s is not in it any more:\n%s", want, out)
		}
	}
}

func TestSealsThatCannotBeInlineAreRefused(t *testing.T) {
	raw := string(readFile(t, "testdata/manifest.json"))
	good := inline(t, fsverity.SHA256)
	replace := func(from, to string) string {
		if !strings.Contains(raw, from) {
			t.Fatalf("no %q in the manifest", from)
		}
		return strings.Replace(raw, from, to, 1)
	}
	change := func(f func(s *Seal)) Seal {
		s := good
		f(&s)
		return s
	}
	tests := []struct {
		name string
		raw  string
		seal Seal
		want error
	}{
		{"no merged tree", raw, change(func(s *Seal) { s.Digests.Merged, s.Signatures.Merged = fsverity.Digest{}, nil }), ErrIncomplete},
		{"no config", raw, change(func(s *Seal) { s.Digests.Config, s.Signatures.Config = fsverity.Digest{}, nil }), ErrIncomplete},
		{"config not signed", raw, change(func(s *Seal) { s.Signatures.Config = nil }), ErrIncomplete},
		{"bootable tree not signed", raw, change(func(s *Seal) { s.Signatures.Bootable = nil }), ErrIncomplete},
		{"only layers signed", raw, change(func(s *Seal) { s.Signatures = Signatures{Layers: s.Signatures.Layers} }), ErrIncomplete},
		{"signature of nothing", raw, change(func(s *Seal) { s.Digests.Bootable = fsverity.Digest{} }), ErrIncomplete},
		{"too few layers", raw, change(func(s *Seal) { s.Digests.Layers, s.Signatures.Layers = s.Digests.Layers[:1], nil }), ErrIncomplete},
		{"digest of another hash", raw, change(func(s *Seal) { s.Digests.Config = sum(t, fsverity.SHA512, "x") }), ErrMixed},
		{"no algorithm", raw, change(func(s *Seal) { s.Digests.Algorithm = fsverity.Algorithm{} }), fsverity.ErrAlgorithm},
		{"long signature", raw, change(func(s *Seal) { s.Signatures.Merged = make([]byte, MaxSignature+1) }), ErrTooLarge},
		{"Docker's manifest", replace("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"), good, ErrNotSeal},
		{"index", replace("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"), good, ErrNotSeal},
		{"old schema", replace(`"schemaVersion": 2`, `"schemaVersion": 1`), good, ErrNotSeal},
		{"no JSON", raw + "x", good, ErrMalformed},
		{"two documents", raw + "{}", good, ErrMalformed},
		{"array", "[]", good, ErrMalformed},
		{"not UTF-8", replace("sample", "\xff"), good, ErrMalformed},
		{"config twice", replace(`"subject": null`, `"config": {}`), good, ErrDuplicate},
		{"config in another case", replace(`"subject": null`, `"Config": {}`), good, ErrMalformed},
		{"digest in another case", replace(`"size": 7023`, `"Digest": "x"`), good, ErrMalformed},
		{"annotation twice", replace(`"org.example.note"`, `"org.example.note": "", "org.example.note"`), good, ErrDuplicate},
		{"annotations that are none", replace(`{ "org.opencontainers.image.title": "sample" }`, `[]`), good, ErrMalformed},
		{"no config at all", replace(`"config"`, `"x"`), good, ErrMalformed},
		{"short digest", replace("sha256:b5b2", "sha256:b5"), good, ErrMalformed},
		{"negative size", replace("7023", "-1"), good, ErrMalformed},
		{"size with a fraction", replace("7023", "1.5"), good, ErrMalformed},
		{"layers that are none", replace(`"layers": [`, `"layers": {}, "x": [`), good, ErrMalformed},
		{"large manifest", replace("sample", strings.Repeat("x", MaxManifest)), good, ErrTooLarge},
		{"large with the seal", replace("sample", strings.Repeat("x", MaxManifest-len(raw))), good, ErrTooLarge},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if out, err := Annotate([]byte(test.raw), test.seal); !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v; manifest of %d bytes", err, test.want, len(out))
			}
		})
	}
}

func TestManifestsDigestIsNotInline(t *testing.T) {
	s := inline(t, fsverity.SHA256)
	want := annotated(t, readFile(t, "testdata/manifest.json"), s)
	s.Digests.Manifest, s.Signatures.Manifest = sum(t, fsverity.SHA256, "manifest"), []byte("x")
	if got := annotated(t, readFile(t, "testdata/manifest.json"), s); !bytes.Equal(got, want) {
		t.Errorf("it made a difference:\n%s", got)
	}
}

func TestBadAnnotationsAreRefused(t *testing.T) {
	d := sum(t, fsverity.SHA256, "x").String()
	key := Merged.Key(fsverity.SHA256)
	top := func(members string) string {
		return `{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha256:` + d + `","size":1},"layers":[],"annotations":{` + members + `}}`
	}
	quoted := func(name, value string) string { return `"` + name + `":"` + value + `"` }
	signature := base64.StdEncoding.EncodeToString([]byte("signature"))
	tests := []struct {
		name, raw string
		want      error
	}{
		{"none", top(""), nil},
		{"good", top(quoted(key, d) + "," + quoted(key+".sig", signature)), nil},
		{"signature first", top(quoted(key+".sig", signature) + "," + quoted(key, d)), nil},
		{"later format", top(quoted("composefs.merged.erofs.v2.fsverity-sha256-12", "x")), nil},
		{"later algorithm", top(quoted("composefs.merged.erofs.v1.fsverity-sha3-12", "x")), nil},
		{"later part", top(quoted("composefs.index.fsverity-sha256-12", "x")), nil},
		{"upper case", top(quoted(key, strings.ToUpper(d))), ErrMalformed},
		{"with its algorithm", top(quoted(key, "sha256:"+d)), ErrMalformed},
		{"short", top(quoted(key, d[2:])), ErrMalformed},
		{"empty", top(quoted(key, "")), ErrMalformed},
		{"a number", top(`"` + key + `":1`), ErrMalformed},
		{"length of another hash", top(quoted(key, d+d)), ErrMixed},
		{"twice", top(quoted(key, d) + "," + quoted(key, d)), ErrDuplicate},
		{"twice, once escaped", top(quoted(key, d) + "," + quoted(strings.Replace(key, "c", `\u0063`, 1), d)), ErrDuplicate},
		{"signature alone", top(quoted(key+".sig", signature)), ErrIncomplete},
		{"signature of another algorithm", top(quoted(key, d) + "," + quoted(Merged.SignatureKey(fsverity.SHA512), signature)), ErrIncomplete},
		{"signature in lines", top(quoted(key, d) + "," + quoted(key+".sig", signature[:4]+`\n`+signature[4:])), ErrMalformed},
		{"signature with loose bits", top(quoted(key, d) + "," + quoted(key+".sig", "QR==")), ErrMalformed},
		{"signature in hexadecimal", top(quoted(key, d) + "," + quoted(key+".sig", "00112")), ErrMalformed},
		{"empty signature", top(quoted(key, d) + "," + quoted(key+".sig", "")), ErrMalformed},
		{"large signature", top(quoted(key, d) + "," + quoted(key+".sig", strings.Repeat("AAAA", MaxSignature/3+1))), ErrTooLarge},
		{"huge signature", top(quoted(key, d) + "," + quoted(key+".sig", strings.Repeat("AAAA", MaxSignature))), ErrTooLarge},
		{"manifest's own digest", top(quoted(Manifest.Key(fsverity.SHA256), d)), ErrMalformed},
		{"config's digest on the manifest", top(quoted(Config.Key(fsverity.SHA256), d)), ErrMalformed},
		{"layer's digest on the manifest", top(quoted(Layer.Key(fsverity.SHA256), d)), ErrMalformed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if seals, err := ReadAnnotations([]byte(test.raw)); !errors.Is(err, test.want) || err == nil && test.want != nil {
				t.Errorf("error %v, want %v; seals %v", err, test.want, seals)
			}
		})
	}
}

func TestKeysAreThoseOfTheSpecification(t *testing.T) {
	for _, test := range []struct {
		part Part
		alg  fsverity.Algorithm
		want string
	}{
		{Manifest, fsverity.SHA512, "composefs.manifest.fsverity-sha512-12"},
		{Config, fsverity.SHA512, "composefs.config.fsverity-sha512-12"},
		{Layer, fsverity.SHA512, "composefs.layer.erofs.v1.fsverity-sha512-12"},
		{Merged, fsverity.SHA256, "composefs.merged.erofs.v1.fsverity-sha256-12"},
		{Bootable, fsverity.SHA256x64, "composefs.merged.bootable.erofs.v1.fsverity-sha256-16"},
	} {
		if got := test.part.Key(test.alg); got != test.want {
			t.Errorf("key of %v is %q, want %q", test.part, got, test.want)
		}
		for _, signature := range []bool{false, true} {
			key := test.want
			if signature {
				key += ".sig"
			}
			if p, alg, s, ok := ParseKey(key); p != test.part || alg != test.alg || s != signature || !ok {
				t.Errorf("%q is read as %v, %v, %v, %v", key, p, alg, s, ok)
			}
		}
	}
	for _, key := range []string{
		"", ".sig", "composefs.merged.fsverity-sha512-12", "composefs.config.erofs.v1.fsverity-sha512-12", "composefs.merged.erofs.v1.fsverity-sha512",
		"composefs.merged.erofs.v1.sha512", "composefs.merged.erofs.v1.fsverity-sha512-012", "Composefs.merged.erofs.v1.fsverity-sha512-12",
		"composefs.merged.erofs.v1.fsverity-sha512-12.sig.sig", "composefs.merged.erofs.v2.fsverity-sha512-12",
	} {
		if p, _, _, ok := ParseKey(key); ok {
			t.Errorf("%q is read as the key of %v", key, p)
		}
	}
}
