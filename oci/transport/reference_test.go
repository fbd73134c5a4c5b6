package transport

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

const someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParseReference(t *testing.T) {
	tests := []struct{ in, normal, familiar string }{
		{"alpine", "docker://docker.io/library/alpine:latest", "alpine:latest"},
		{"alpine:3", "docker://docker.io/library/alpine:3", "alpine:3"},
		{"docker://alpine", "docker://docker.io/library/alpine:latest", "alpine:latest"},
		{"index.docker.io/library/alpine", "docker://docker.io/library/alpine:latest", "alpine:latest"},
		{"team/app", "docker://docker.io/team/app:latest", "team/app:latest"},
		{"localhost:5000/app", "docker://localhost:5000/app:latest", "localhost:5000/app:latest"},
		{"localhost/app", "docker://localhost/app:latest", "localhost/app:latest"},
		{"127.0.0.1:5000/a/b/c:v1", "docker://127.0.0.1:5000/a/b/c:v1", "127.0.0.1:5000/a/b/c:v1"},
		{"[::1]:5000/app:v1", "docker://[::1]:5000/app:v1", "[::1]:5000/app:v1"},
		{"q.example/app@" + someDigest, "docker://q.example/app@" + someDigest, "q.example/app@" + someDigest},
		{"q.example/app:v1@" + someDigest, "docker://q.example/app:v1@" + someDigest, "q.example/app:v1@" + someDigest},
		{"docker:dind", "docker://docker.io/library/docker:dind", "docker:dind"},
		{"docker://oci:latest", "docker://docker.io/library/oci:latest", "docker://docker.io/library/oci:latest"},
		{"docker://docker.io/library/a/b:1", "docker://docker.io/library/a/b:1", "library/a/b:1"},
		{"oci:/var/x", "oci:/var/x", ""},
		{"oci:x/../y/:name", "oci:y:name", ""},
		{"oci:x:docker.io/library/app:1", "oci:x:docker.io/library/app:1", ""},
		{"oci:x@" + someDigest, "oci:x@" + someDigest, ""},
		{"oci:x@y", "oci:x@y", ""},
		{"oci-archive:x.tar:v1", "oci-archive:x.tar:v1", ""},
		{"docker-archive:x.tar", "docker-archive:x.tar", ""},
		{"docker-archive:x.tar:app", "docker-archive:x.tar:docker.io/library/app:latest", ""},
		{"docker-archive:x.tar:q.example:5000/app:v1", "docker-archive:x.tar:q.example:5000/app:v1", ""},
		{"docker-archive:x.tar:@3", "docker-archive:x.tar:@3", ""},
		{"containers-storage:localhost/app:v1", "containers-storage:localhost/app:v1", ""},
	}
	for _, test := range tests {
		r, err := Parse(test.in)
		if err != nil {
			t.Errorf("%s: %v", test.in, err)
			continue
		}
		if test.familiar == "" {
			test.familiar = test.normal
		}
		if r.String() != test.normal || r.Familiar() != test.familiar {
			t.Errorf("%s: %s, %s; want %s, %s", test.in, r, r.Familiar(), test.normal, test.familiar)
		}
		for _, again := range []string{r.String(), r.Familiar()} {
			if back, err := Parse(again); err != nil || back != r {
				t.Errorf("%s: as %s it is %+v (%v)", test.in, again, back, err)
			}
		}
	}
}

func TestParseRefusesWhatIsNoReference(t *testing.T) {
	for _, bad := range []string{
		"", "docker://", "UPPER", "a/B", "a:", "a@", "a@sha256:00", "a@md5:d41d8cd98f00b204e9800998ecf8427e", "a b", "a\nb", "a\x00",
		"https://q.example/app", "q.example/", "-a/b", "../x", "a//b", "a:v/1", strings.Repeat("a", 300), strings.Repeat("a", 5000),
		someDigest, strings.TrimPrefix(someDigest, "sha256:"),
		"oci:", "oci::x", "oci:@" + someDigest, "oci:x:", "oci:x:" + strings.Repeat("a", 600), "oci-archive:",
		"docker-archive:", "docker-archive:x:", "docker-archive:x:UPPER", "docker-archive:x:@-1", "docker-archive:x:@", "docker-archive:x:app@" + someDigest,
		"containers-storage:", "dir:/x", "docker-daemon:app:v1", "tarball:/x",
	} {
		if r, err := Parse(bad); !errors.Is(err, ErrReference) {
			t.Errorf("%.60q: %+v, %v", bad, r, err)
		}
	}
}

func TestReferenceParts(t *testing.T) {
	r := parse(t, "q.example:5000/team/app:v1@"+someDigest)
	got := []string{r.Transport(), r.Registry(), r.Repository(), r.Tag(), r.Digest().String(), r.Path(), r.Name()}
	if diff := cmp.Diff([]string{"docker", "q.example:5000", "team/app", "v1", someDigest, "", ""}, got); diff != "" || r.Index() != -1 {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	want := []string{
		"q.example:5000/team/app@" + someDigest, "q.example:5000/team/app:v1", "q.example:5000/team/app", "q.example:5000/team",
		"q.example:5000", "*.example:5000",
	}
	if diff := cmp.Diff(want, r.Scopes()); diff != "" {
		t.Errorf("scopes (-want +got):\n%s", diff)
	}
	if scopes := parse(t, "a.b.c/x").Scopes(); !slices.Contains(scopes, "*.b.c") || !slices.Contains(scopes, "*.c") {
		t.Errorf("scopes %v", scopes)
	}
	if diff := cmp.Diff([]string{"/var/x:v1", "/var/x", "/var"}, parse(t, "oci:/var/x:v1").Scopes()); diff != "" {
		t.Errorf("scopes of a layout (-want +got):\n%s", diff)
	}
	other := digest.FromString("other")
	if got := r.WithDigest(other).String(); got != "docker://q.example:5000/team/app@"+other.String() {
		t.Errorf("with a digest: %s", got)
	}
	if got := parse(t, "oci:x:v1").WithDigest(other).String(); got != "oci:x@"+other.String() {
		t.Errorf("layout with a digest: %s", got)
	}
	if tagged, err := r.WithTag("v2"); err != nil || tagged.String() != "docker://q.example:5000/team/app:v2" {
		t.Errorf("with a tag: %s %v", tagged, err)
	}
	if tagged, err := parse(t, "oci:x:v1").WithTag("v2"); err != nil || tagged.String() != "oci:x:v2" {
		t.Errorf("layout with a tag: %s %v", tagged, err)
	}
	if _, err := r.WithTag("a b"); !errors.Is(err, ErrReference) {
		t.Errorf("with what is no tag: %v", err)
	}
	if (Reference{}).String() != "" || (Reference{}).Index() != -1 {
		t.Error("the zero reference is something")
	}
}

func TestOpeningWhatHasNoTransport(t *testing.T) {
	for _, r := range []Reference{{}, parse(t, "containers-storage:app")} {
		if _, err := OpenSource(t.Context(), r, Options{}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: read: %v", r, err)
		}
		if _, err := OpenDestination(t.Context(), r, Options{}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: write: %v", r, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"alpine", "docker://q.example:5000/a/b:v1@" + someDigest, "oci:x:y:z", "oci:x@" + someDigest, "docker-archive:x:@1", "docker-archive:x:a:b", "containers-storage:x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			return
		}
		for _, again := range []string{r.String(), r.Familiar()} {
			if back, err := Parse(again); err != nil || back != r {
				t.Errorf("%q: as %q it is %+v (%v)", s, again, back, err)
			}
		}
		if len(r.Scopes()) == 0 {
			t.Errorf("%q has no scopes", s)
		}
	})
}
