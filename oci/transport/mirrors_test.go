package transport

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/internal/faultyregistry"
)

func parseRegistries(t *testing.T, text string) *Registries {
	t.Helper()
	r, err := ParseRegistries([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRegistriesSayWhereToAsk(t *testing.T) {
	r := parseRegistries(t, `
unqualified-search-registries = ["docker.io"]
[[registry]]
location = "a.example"
[[registry.mirror]]
location = "m1.example/proxy"
insecure = true
[[registry.mirror]]
location = "m2.example:5000"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "m3.example"
pull-from-mirror = "tag-only"
[[registry]]
prefix = "a.example/team"
location = "b.example/moved/team"
insecure = true
[[registry]]
prefix = "a.example/team/secret"
blocked = true
[[registry]]
prefix = "*.corp.example"
[[registry.mirror]]
location = "cache.example/all"
[[registry]]
location = "d.example"
mirror-by-digest-only = true
[[registry.mirror]]
location = "m4.example"
`)
	show := func(host, repo string, byDigest bool) string {
		places, err := r.places(host, repo, byDigest)
		if err != nil {
			if !errors.Is(err, ErrDenied) {
				t.Errorf("%s/%s: %v", host, repo, err)
			}
			return "denied"
		}
		var parts []string
		for _, p := range places {
			s := p.host + " " + p.repo
			if p.insecure {
				s += " insecure"
			}
			if p.mirror {
				s = "mirror " + s
			}
			parts = append(parts, s)
		}
		return strings.Join(parts, ", ")
	}
	tests := []struct {
		host, repo string
		byDigest   bool
		want       string
	}{
		{"z.example", "x", false, "z.example x"},
		{"a.example", "x", false, "mirror m1.example proxy/x insecure, mirror m3.example x, a.example x"},
		{"a.example", "x/y", true, "mirror m1.example proxy/x/y insecure, mirror m2.example:5000 x/y, a.example x/y"},
		{"a.example", "team/x", false, "b.example moved/team/x insecure"},
		{"a.example", "team", false, "b.example moved/team insecure"},
		{"a.example", "teams/x", true, "mirror m1.example proxy/teams/x insecure, mirror m2.example:5000 teams/x, a.example teams/x"},
		{"a.example", "team/secret/x", false, "denied"},
		{"git.corp.example", "x", false, "mirror cache.example all/x, git.corp.example x"},
		{"corp.example", "x", false, "corp.example x"},
		{"d.example", "x", false, "d.example x"},
		{"d.example", "x", true, "mirror m4.example x, d.example x"},
	}
	for _, test := range tests {
		if got := show(test.host, test.repo, test.byDigest); got != test.want {
			t.Errorf("%s/%s by digest %v:\n got %s\nwant %s", test.host, test.repo, test.byDigest, got, test.want)
		}
	}
}

func TestRegistriesRefuseWhatHasNoMeaning(t *testing.T) {
	for name, text := range map[string]string{
		"no place":              "[[registry]]\ninsecure = true\n",
		"a scheme":              "[[registry]]\nlocation = \"https://a.example\"\n",
		"a mirror with none":    "[[registry]]\nlocation = \"a.example\"\n[[registry.mirror]]\ninsecure = true\n",
		"an unknown kind":       "[[registry]]\nlocation = \"a.example\"\n[[registry.mirror]]\nlocation = \"b\"\npull-from-mirror = \"some\"\n",
		"an asterisk inside":    "[[registry]]\nprefix = \"*.a.example/x\"\n",
		"version 1":             "[registries.search]\nregistries = [\"docker.io\"]\n",
		"no TOML":               "[[registry",
		"a location of no host": "",
	} {
		r, err := ParseRegistries([]byte(text))
		if name == "a location of no host" {
			r = parseRegistries(t, "[[registry]]\nprefix = \"a.example\"\nlocation = \"UPPER/Case\"\n")
			_, err = r.places("a.example", "x", false)
		}
		if err == nil {
			t.Errorf("%s: no error, %+v", name, r)
		}
	}
}

func TestSystemRegistriesReadsDropIns(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	t.Setenv("CONTAINERS_REGISTRIES_CONF", "")
	user := filepath.Join(dir, "containers")
	writeFiles(t, user, map[string][]byte{"registries.conf": []byte("[[registry]]\nlocation = \"a.invalid\"\nblocked = true\n")})
	writeFiles(t, filepath.Join(user, "registries.conf.d"), map[string][]byte{
		"10-b.conf": []byte("[[registry]]\nlocation = \"b.invalid\"\nblocked = true\n"), "20-b.conf": []byte("[[registry]]\nlocation = \"b.invalid\"\n"),
		"ignored": []byte("not TOML"),
	})
	r, err := SystemRegistries()
	if err != nil {
		t.Fatal(err)
	}
	_, errA := r.places("a.invalid", "x", false)
	_, errB := r.places("b.invalid", "x", false)
	if !errors.Is(errA, ErrDenied) || errB != nil {
		t.Errorf("a: %v, b: %v", errA, errB)
	}
	t.Setenv("CONTAINERS_REGISTRIES_CONF", filepath.Join(user, "registries.conf.d", "10-b.conf"))
	r, err = SystemRegistries()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.places("b.invalid", "x", false); !errors.Is(err, ErrDenied) {
		t.Errorf("the file of the variable: %v", err)
	}
	t.Setenv("CONTAINERS_REGISTRIES_CONF", filepath.Join(dir, "none"))
	if _, err := SystemRegistries(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// mirrored starts a registry and a mirror, which both have the image, and returns options for both.
func mirrored(t *testing.T, i image, seen *events) (mirror, own *faultyregistry.Server, ref string, opts Options) {
	t.Helper()
	mirror, own = startFaulty(t), startFaulty(t)
	put(t, mirror.Host()+"/cache/x:v1", plainOptions(nil), i)
	put(t, own.Host()+"/x:v1", plainOptions(nil), i)
	opts = plainOptions(seen)
	opts.IdleTimeout = 300 * time.Millisecond
	opts.Registries = parseRegistries(t, fmt.Sprintf("[[registry]]\nlocation = %q\n[[registry.mirror]]\nlocation = %q\n", own.Host(), mirror.Host()+"/cache"))
	mirror.Reset()
	own.Reset()
	return mirror, own, own.Host() + "/x:v1", opts
}

func TestMirrorIsAskedFirst(t *testing.T) {
	i := makeImage(t, 1, 100_000)
	mirror, own, ref, opts := mirrored(t, i, nil)
	checkImage(t, openSource(t, ref, opts), i)
	if len(own.Requests()) != 0 || len(mirror.Requests()) == 0 {
		t.Errorf("%d requests to the registry, %d to the mirror", len(own.Requests()), len(mirror.Requests()))
	}
	d := openDestination(t, ref, opts)
	defer d.Close()
	if _, err := d.PutBlob(t.Context(), i.parsed.Config, bytes.NewReader(i.config)); err != nil {
		t.Fatal(err)
	}
	if mirror.Count("POST", "") != 0 || own.Count("POST", "") != 1 {
		t.Error("the mirror was written to")
	}
}

func TestMirrorIsLeftForTheRegistry(t *testing.T) {
	other := makeImage(t, 2, 1000)
	for name, fault := range map[string]faultyregistry.Fault{
		"down":             faultyregistry.Refuse(),
		"without it":       faultyregistry.Status(404),
		"private":          faultyregistry.Status(401),
		"overloaded":       faultyregistry.Status(503),
		"breaking":         faultyregistry.Drop(100),
		"standing still":   faultyregistry.Stall(100),
		"lying by length":  faultyregistry.Short(100),
		"of other content": faultyregistry.Answer("application/vnd.oci.image.manifest.v1+json", other.manifest.Raw),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := makeImage(t, 1, 100_000)
			var seen events
			mirror, _, ref, opts := mirrored(t, i, &seen)
			mirror.Plan(faultyregistry.Rule{Fault: fault})
			byDigest := strings.TrimSuffix(ref, ":v1") + "@" + i.manifest.Digest.String()
			checkImage(t, openSource(t, byDigest, opts), i)
			if seen.count(EventMirror) == 0 {
				t.Error("nothing was told")
			}
		})
	}
}

func TestLyingMirrorIsRejected(t *testing.T) {
	i := makeImage(t, 1, 100_000)
	desc, data := i.big()
	var seen events
	mirror, own, ref, opts := mirrored(t, i, &seen)
	mirror.Plan(faultyregistry.Rule{Path: "/blobs/", Fault: faultyregistry.Corrupt(50_000)})
	s := openSource(t, ref, opts)
	if s.Reject(desc.Digest) {
		t.Error("a blob that nobody gave was rejected")
	}
	got, err := readBlob(t, s, desc)
	if err != nil || bytes.Equal(got, data) {
		t.Fatalf("the mirror did not lie: %v", err)
	}
	if !s.Reject(desc.Digest) {
		t.Fatal("there is nobody else")
	}
	if got, err = readBlob(t, s, desc); err != nil || !bytes.Equal(got, data) {
		t.Errorf("from the registry: %v", err)
	}
	own.Plan(faultyregistry.Rule{Path: "/blobs/", Fault: faultyregistry.Corrupt(0)})
	if _, err := readBlob(t, s, desc); err != nil {
		t.Fatal(err)
	}
	if s.Reject(desc.Digest) {
		t.Error("there is still somebody")
	}
	if _, err := readBlob(t, s, desc); !errors.Is(err, ErrDigest) {
		t.Errorf("when all have lied: %v", err)
	}
	if _, err := readBlob(t, s, i.parsed.Layers[0]); err != nil {
		t.Errorf("another blob: %v", err)
	}
}

func TestMirrorThatLiesAndLeavesIsRejected(t *testing.T) {
	i := makeImage(t, 1, 100_000)
	desc, data := i.big()
	mirror, _, ref, opts := mirrored(t, i, nil)
	mirror.Plan(faultyregistry.Rule{Path: "/blobs/", Fault: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		faultyregistry.Corrupt(100)(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			faultyregistry.Drop(5000)(w, r, next)
		}))
	}})
	s := openSource(t, ref, opts)
	got, err := readBlob(t, s, desc)
	if err != nil || len(got) != len(data) || bytes.Equal(got, data) {
		t.Fatalf("the mirror did not lie: %v", err)
	}
	if !s.Reject(desc.Digest) {
		t.Fatal("there is nobody else")
	}
	if got, err = readBlob(t, s, desc); err != nil || !bytes.Equal(got, data) {
		t.Errorf("from the registry: %v", err)
	}
}

func TestInsecureRegistryFallsBackToPlainHTTP(t *testing.T) {
	s := startFaulty(t)
	i := makeImage(t, 1, 1000)
	ref := s.Host() + "/x:v1"
	opts := plainOptions(nil)
	opts.PlainHTTP = nil
	opts.Registries = parseRegistries(t, fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", s.Host()))
	put(t, ref, opts, i)
	checkImage(t, openSource(t, ref, opts), i)
	tls := faultyregistry.NewTLS(memoryRegistry())
	t.Cleanup(tls.Close)
	opts.Registries = parseRegistries(t, fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", tls.Host()))
	put(t, tls.Host()+"/x:v1", opts, i)
	checkImage(t, openSource(t, tls.Host()+"/x:v1", opts), i)
}

func TestBlockedRegistryIsNotAsked(t *testing.T) {
	s := startFaulty(t)
	opts := plainOptions(nil)
	opts.Registries = parseRegistries(t, fmt.Sprintf("[[registry]]\nlocation = %q\nblocked = true\n", s.Host()))
	ref := parse(t, s.Host()+"/x:v1")
	if _, err := OpenSource(t.Context(), ref, opts); !errors.Is(err, ErrDenied) {
		t.Errorf("read: %v", err)
	}
	if _, err := OpenDestination(t.Context(), ref, opts); !errors.Is(err, ErrDenied) {
		t.Errorf("write: %v", err)
	}
	if diff := cmp.Diff(0, len(s.Requests())); diff != "" {
		t.Errorf("requests: %s", diff)
	}
}

// FuzzRegistries parses what it is given, and asks it for places.
func FuzzRegistries(f *testing.F) {
	f.Add("[[registry]]\nprefix = \"*.example\"\n[[registry.mirror]]\nlocation = \"m.example/x\"\n", "a.example", "x/y")
	f.Add("[[registry]]\nlocation = \"a.example/x\"\nblocked = true\n", "a.example", "x/y")
	f.Fuzz(func(t *testing.T, text, host, repo string) {
		r, err := ParseRegistries([]byte(text))
		if err != nil {
			return
		}
		places, err := r.places(host, repo, true)
		if err == nil && len(places) == 0 {
			t.Error("no error and no place")
		}
	})
}
