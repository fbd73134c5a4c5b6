package transport

import (
	"strings"
	"testing"

	"github.com/distribution/reference"
)

// someNames reach every rule of the grammar.
var someNames = []string{
	"a", "a:1", "a/b", "a/b/c:v1", "library/a", "library/a/b", "docker.io/a", "docker.io/a:v/1", "index.docker.io/a", "index.docker.io/a/b", "docker.io", "localhost", "localhost/a", "localhost:5/a",
	"Host/a", "Host/A", "HOST:5000/a/b", "h.example/a", "h.example:80/a:b", "h.example:/a", "h.example:x/a", "h..example/a", ".h/a", "-h.example/a",
	"h-.example/a", "h-h.example/a", "h_h.example/a", "h__h.example/a", "a_b.c/app", "1.2.3.4/a", "[::1]/a", "[::1]:80/a", "[::1]:/a", "[::1/a", "[]/a", "[::g]/a", "[::1]x/a", "::1/a",
	"a.b", "a..b", "a_b", "a__b", "a___b", "a-b", "a----b", "a-_b", "a.", "_a", "-a", "a-", "a/", "/a", "a//b", "", "/", ":", "@", "a:", "a@", ":a", "@a",
	"a:_", "a:-", "a:.", "a:A.b-c_", "a:b:c", "a:" + strings.Repeat("t", 128), "a:" + strings.Repeat("t", 129), "h.example/" + strings.Repeat("a", 255), "h.example/" + strings.Repeat("a", 256),
	"a@" + someDigest, "a:v1@" + someDigest, "a@" + someDigest + "@" + someDigest, "a@" + strings.ToUpper(someDigest), "a@sha256:00", "a@md5:d41d8cd98f00b204e9800998ecf8427e",
	"a@sha512:" + strings.Repeat("0", 128), "a@sha384:" + strings.Repeat("f", 96), "A@" + someDigest, someDigest, strings.Repeat("a", 64), strings.Repeat("A", 64), strings.Repeat("a", 63),
	"h.example/" + strings.Repeat("a", 64), "ä", "Ä/a", "ä.b/a", "a\xff/b", "a\n", "a b", "h.example/a\x00", "a:ſ", "K/a", "h.example/K", "host\x60/a", "h\x9a.b/a", "[\x1a]/a", "a@:", "a:@" + someDigest,
}

// compareNames holds a name against the package that Docker and podman parse names with.
func compareNames(t *testing.T, s string) {
	t.Helper()
	got, err := parseImageName(s)
	named, wantErr := reference.ParseNormalizedNamed(s)
	if wantErr == nil && reference.Domain(named) == "" {
		// The first part must be a host and is none: see parseImageName.
		if err == nil {
			t.Errorf("%q: %+v, and has no registry", s, got)
		}
		return
	}
	if (err == nil) != (wantErr == nil) {
		t.Errorf("%q: %+v, error %v; elsewhere %v, error %v", s, got, err, named, wantErr)
		return
	}
	if err != nil {
		return
	}
	want := imageName{host: reference.Domain(named), repo: reference.Path(named)}
	if tagged, ok := named.(reference.Tagged); ok {
		want.tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		want.digest = digested.Digest()
	}
	if got != want || got.String() != named.String() {
		t.Errorf("%q: %+v, %s; elsewhere %+v, %s", s, got, got, want, named)
	}
}

func TestImageNamesAreDockers(t *testing.T) {
	for _, s := range someNames {
		compareNames(t, s)
	}
	// Every byte in every place of a name.
	for c := range 256 {
		for _, name := range []string{"h.example:80/a/b:v1@" + someDigest, "[::1]:80/a-b__c"} {
			for i := range len(name) {
				compareNames(t, name[:i]+string([]byte{byte(c)})+name[i+1:])
				compareNames(t, name[:i]+string([]byte{byte(c)})+name[i:])
			}
		}
	}
}

func TestNameWithoutRegistryIsRefused(t *testing.T) {
	for _, s := range []string{"a_b.c/app", "docker://a_b.c/app:v1"} {
		if r, err := Parse(s); err == nil {
			t.Errorf("%s: is %s", s, r)
		}
	}
}

func FuzzImageName(f *testing.F) {
	for _, s := range someNames {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) <= maxReference {
			compareNames(t, s)
		}
	})
}
