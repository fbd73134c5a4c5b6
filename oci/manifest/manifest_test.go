package manifest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	emptyDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	aDescriptor = `{"mediaType":"x/y","digest":"` + emptyDigest + `","size":0}`
	anImage     = `{"schemaVersion":2,"config":` + aDescriptor + `,"layers":[` + aDescriptor + `]}`
	anIndex     = `{"schemaVersion":2,"manifests":[` + aDescriptor + `]}`
)

// with puts a field in front of the others of a document.
func with(field, document string) string { return "{" + field + "," + document[1:] }

func TestMediaTypeIsWhatSourceAndDocumentAgreeOn(t *testing.T) {
	tests := map[string]struct {
		raw, declared, want string
		err                 error
	}{
		"nothing said":             {raw: anImage, want: ocispec.MediaTypeImageManifest},
		"nothing said of an index": {raw: anIndex, want: ocispec.MediaTypeImageIndex},
		"the source says":          {raw: anImage, declared: DockerManifest, want: DockerManifest},
		"with parameters":          {raw: anIndex, declared: DockerIndex + "; charset=utf-8", want: DockerIndex},
		"in upper case":            {raw: anIndex, declared: strings.ToUpper(DockerIndex), want: DockerIndex},
		"the document says":        {raw: with(`"mediaType":"`+DockerManifest+`"`, anImage), want: DockerManifest},
		"a general type":           {raw: with(`"mediaType":"`+DockerManifest+`"`, anImage), declared: "application/json", want: DockerManifest},
		"both say the same":        {raw: with(`"mediaType":"`+DockerManifest+`"`, anImage), declared: DockerManifest, want: DockerManifest},
		"they differ":              {raw: with(`"mediaType":"`+DockerManifest+`"`, anImage), declared: ocispec.MediaTypeImageManifest, err: ErrInvalid},
		"an index as manifest":     {raw: anIndex, declared: DockerManifest, err: ErrInvalid},
		"a manifest as index":      {raw: with(`"mediaType":"`+DockerIndex+`"`, anImage), err: ErrInvalid},
		"an unknown type":          {raw: with(`"mediaType":"text/plain"`, anImage), err: ErrInvalid},
		"both at once":             {raw: with(`"manifests":[]`, anImage), err: ErrInvalid},
		"both, layers only":        {raw: with(`"layers":[]`, anIndex), err: ErrInvalid},
		"neither":                  {raw: `{"schemaVersion":2}`, err: ErrInvalid},
		"null":                     {raw: `{"schemaVersion":2,"manifests":null}`, err: ErrInvalid},
		"no version":               {raw: `{"manifests":[]}`, err: ErrInvalid},
		"schema 1":                 {raw: `{"schemaVersion":1,"fsLayers":[]}`, err: ErrSchema1},
		"schema 1 by type":         {raw: anImage, declared: "application/vnd.docker.distribution.manifest.v1+json", err: ErrSchema1},
		"schema 1 in disguise":     {raw: with(`"fsLayers":[]`, anImage), err: ErrSchema1},
		"no JSON":                  {raw: "<html>", err: ErrInvalid},
		"another JSON":             {raw: "[]", err: ErrInvalid},
		"nothing":                  {raw: "", err: ErrInvalid},
		"too large":                {raw: with(`"x":"`+strings.Repeat("x", MaxSize)+`"`, anImage), err: ErrInvalid},
	}
	for name, test := range tests {
		got, err := MediaType([]byte(test.raw), test.declared)
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: %q, %v; want %q, %v", name, got, err, test.want, test.err)
		}
	}
}

func TestDescriptorsAreChecked(t *testing.T) {
	for name, bad := range map[string]string{
		"no digest":           `{"size":1}`,
		"another algorithm":   `{"digest":"md5:d41d8cd98f00b204e9800998ecf8427e","size":1}`,
		"a digest too short":  `{"digest":"sha256:e3b0","size":1}`,
		"upper case":          `{"digest":"` + strings.Replace(emptyDigest, "e3b0", "E3B0", 1) + `","size":1}`,
		"a path":              `{"digest":"sha256:../../../../../../../../../../../../etc/passwd","size":1}`,
		"a negative size":     `{"digest":"` + emptyDigest + `","size":-1}`,
		"a size too large":    `{"digest":"` + emptyDigest + `","size":9223372036854775808}`,
		"a size of a half":    `{"digest":"` + emptyDigest + `","size":0.5}`,
		"not an object":       `7`,
		"a digest of a digit": `{"digest":7}`,
	} {
		for _, raw := range []string{
			strings.Replace(anImage, aDescriptor, bad, 1), strings.Replace(anImage, "["+aDescriptor, "["+bad, 1),
			strings.Replace(anIndex, aDescriptor, bad, 1), with(`"subject":`+bad, anImage), with(`"subject":`+bad, anIndex),
		} {
			_, errManifest := ParseManifest([]byte(raw))
			_, errIndex := ParseIndex([]byte(raw))
			if !errors.Is(errManifest, ErrInvalid) || !errors.Is(errIndex, ErrInvalid) {
				t.Errorf("%s: %v; %v", name, errManifest, errIndex)
			}
			if _, err := Subject([]byte(raw)); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: subject: %v", name, err)
			}
		}
		if _, err := ParseConfig([]byte(`{"rootfs":{"type":"layers","diff_ids":[` + bad + `]}}`)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: configuration: %v", name, err)
		}
	}
}

func TestParseGivesWhatIsThere(t *testing.T) {
	m, err := ParseManifest([]byte(with(`"mediaType":"`+DockerManifest+`","subject":`+aDescriptor+`,"annotations":{"a":"b"}`, anImage)))
	if err != nil {
		t.Fatal(err)
	}
	d := ocispec.Descriptor{MediaType: "x/y", Digest: emptyDigest}
	want := ocispec.Manifest{
		MediaType: DockerManifest, Config: d, Layers: []ocispec.Descriptor{d}, Subject: &d, Annotations: map[string]string{"a": "b"},
	}
	want.SchemaVersion = 2
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	c, err := ParseConfig([]byte(`{"architecture":"arm64","os":"linux","variant":"v8","rootfs":{"type":"layers","diff_ids":["` + emptyDigest + `"]}}`))
	if err != nil || c.Architecture != "arm64" || c.Variant != "v8" || len(c.RootFS.DiffIDs) != 1 {
		t.Errorf("configuration %+v: %v", c, err)
	}
	for _, bad := range []string{`{"rootfs":{"type":"other"}}`, `[]`, ``, strings.Repeat(" ", MaxSize+1)} {
		if _, err := ParseConfig([]byte(bad)); !errors.Is(err, ErrInvalid) {
			t.Errorf("configuration %.20q: %v", bad, err)
		}
	}
}

func TestReferrerHasTheTypeOfItsConfiguration(t *testing.T) {
	for name, test := range map[string]struct{ raw, want string }{
		"its own":   {with(`"artifactType":"a/b"`, anImage), "a/b"},
		"by config": {anImage, "x/y"},
		"an index":  {with(`"artifactType":"a/b"`, anIndex), "a/b"},
		"none":      {anIndex, ""},
	} {
		d, err := Referrer([]byte(test.raw))
		if err != nil || d.ArtifactType != test.want || d.Size != int64(len(test.raw)) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func platform(t *testing.T, s string) ocispec.Platform {
	t.Helper()
	p, err := ParsePlatform(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParsePlatform(t *testing.T) {
	for in, want := range map[string]string{
		"linux/amd64": "linux/amd64", "amd64": "linux/amd64", "x86_64": "linux/amd64", "linux/aarch64": "linux/arm64",
		"linux/arm64/v8": "linux/arm64", "LINUX/ARM64": "linux/arm64", "arm": "linux/arm/v7", "linux/arm/6": "linux/arm/v6", "armel": "linux/arm/v6",
		"linux/amd64/v1": "linux/amd64", "linux/amd64/v3": "linux/amd64/v3", "macos/arm64": "darwin/arm64",
		"windows(10.0.17763)/amd64": "windows(10.0.17763)/amd64", "plan9/weird": "plan9/weird",
	} {
		p, err := ParsePlatform(in)
		if got := FormatPlatform(p); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
		if again, err := ParsePlatform(want); err != nil || cmp.Diff(p, again) != "" {
			t.Errorf("%s: is not what it is: %+v", want, again)
		}
	}
	for _, bad := range []string{"", "/", "linux/", "linux", "a/b/c/d", "linux/amd 64", "linux/\x1b", "windows(1/amd64", "(1)/amd64", "linux//v1"} {
		if p, err := ParsePlatform(bad); err == nil {
			t.Errorf("%q: %+v", bad, p)
		}
	}
}

func TestSelectTakesTheBestThatRuns(t *testing.T) {
	index := func(platforms ...string) ocispec.Index {
		var x ocispec.Index
		for n, s := range platforms {
			d := ocispec.Descriptor{Size: int64(n), Digest: emptyDigest}
			switch s {
			case "-":
			case "attestation":
				d.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
				d.Annotations = map[string]string{attestation: "attestation-manifest"}
			default:
				os, rest, _ := strings.Cut(s, "/")
				architecture, variant, _ := strings.Cut(rest, "/")
				d.Platform = &ocispec.Platform{OS: os, Architecture: architecture, Variant: variant}
				if name, version, ok := strings.Cut(os, "("); ok {
					d.Platform.OS, d.Platform.OSVersion = name, strings.TrimSuffix(version, ")")
				}
			}
			x.Manifests = append(x.Manifests, d)
		}
		return x
	}
	tests := []struct {
		have []string
		want string
		take int // -1: none
	}{
		{[]string{"linux/arm64", "linux/amd64"}, "linux/amd64", 1},
		{[]string{"linux/arm64/v8", "linux/amd64"}, "linux/arm64", 0},
		{[]string{"linux/arm64"}, "linux/arm64/v8", 0},
		{[]string{"linux/arm/v5", "linux/arm/v6", "linux/arm/v7"}, "linux/arm/v6", 1},
		{[]string{"linux/arm/v5", "linux/arm/v7"}, "linux/arm/v6", 0},
		{[]string{"linux/arm/v7"}, "linux/arm/v6", -1},
		{[]string{"linux/arm"}, "linux/arm", 0},
		{[]string{"linux/arm64/v8", "linux/arm64/v9"}, "linux/arm64/v9.2", 1},
		{[]string{"linux/amd64/v3", "linux/amd64"}, "linux/amd64", 1},
		{[]string{"linux/amd64/v3", "linux/amd64/v2", "linux/amd64"}, "linux/amd64/v4", 0},
		{[]string{"linux/amd64", "linux/amd64"}, "linux/amd64", 0},
		{[]string{"windows/amd64"}, "linux/amd64", -1},
		{[]string{"linux/s390x/strange"}, "linux/s390x", -1},
		{[]string{"windows(10.0.17763.1)/amd64", "windows(10.0.20348.1)/amd64"}, "windows(10.0.20348)/amd64", 1},
		{[]string{"windows(10.0.17763.1)/amd64"}, "windows(10.0.20348)/amd64", -1},
		{[]string{"windows(10.0.17763.1)/amd64"}, "windows/amd64", 0},
		{[]string{"attestation", "linux/amd64"}, "linux/amd64", 1},
		{[]string{"-"}, "linux/amd64", 0},
		{[]string{"-", "-"}, "linux/amd64", -1},
		{nil, "linux/amd64", -1},
	}
	for _, test := range tests {
		got, err := Select(index(test.have...), platform(t, test.want))
		switch {
		case test.take < 0 && !errors.Is(err, ErrPlatform):
			t.Errorf("%v for %s: %+v, %v", test.have, test.want, got, err)
		case test.take >= 0 && (err != nil || got.Size != int64(test.take)):
			t.Errorf("%v for %s: number %d, %v; want %d", test.have, test.want, got.Size, err, test.take)
		}
	}
	_, err := Select(index("linux/arm64", "windows(10.0)/amd64", "attestation"), platform(t, "linux/s390x"))
	if want := "there is linux/arm64, windows(10.0)/amd64"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %v", err)
	}
	if n := len(Platforms(index("linux/arm64", "attestation", "-"))); n != 1 {
		t.Errorf("%d platforms", n)
	}
	if got := FormatPlatform(DefaultPlatform()); !strings.HasPrefix(got, "linux/") {
		t.Errorf("default %s", got)
	}
	features := index("linux/amd64")
	features.Manifests[0].Platform.OSFeatures = []string{"win32k"}
	if _, err := Select(features, platform(t, "linux/amd64")); !errors.Is(err, ErrPlatform) {
		t.Errorf("a feature that is not there: %v", err)
	}
}

// FuzzDocuments holds every parser to its promises about what it accepts.
func FuzzDocuments(f *testing.F) {
	f.Add([]byte(anImage), "")
	f.Add([]byte(anIndex), DockerIndex)
	f.Add([]byte(with(`"subject":`+aDescriptor, anImage)), "application/json")
	f.Add([]byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["`+emptyDigest+`"]}}`), "x")
	f.Fuzz(func(t *testing.T, raw []byte, declared string) {
		mediaType, err := MediaType(raw, declared)
		if err == nil && IsIndex(mediaType) == IsManifest(mediaType) {
			t.Errorf("media type %q", mediaType)
		}
		m, errManifest := ParseManifest(raw)
		x, errIndex := ParseIndex(raw)
		if errManifest == nil && errIndex == nil {
			t.Error("both a manifest and an index")
		}
		all := append([]ocispec.Descriptor{}, m.Layers...)
		if errManifest == nil {
			all = append(all, m.Config)
		}
		if errIndex == nil {
			all = append(all, x.Manifests...)
			if d, err := Select(x, DefaultPlatform()); err == nil && d.Digest == "" {
				t.Error("an empty descriptor was selected")
			}
		}
		for _, d := range all {
			if errManifest != nil && errIndex != nil {
				break
			}
			if err := CheckDescriptor(d); err != nil {
				t.Error(err)
			}
			_ = fmt.Sprint(d.Digest.Algorithm(), d.Digest.Encoded())
		}
		if c, err := ParseConfig(raw); err == nil {
			for _, d := range c.RootFS.DiffIDs {
				_ = d.Algorithm().Available()
			}
		}
	})
}
