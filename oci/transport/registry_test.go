package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/internal/faultyregistry"
	"github.com/go-composefs/composefs/oci/manifest"
)

var noCredentials = authn.AuthConfig{}

func TestRegistryGivesBackWhatWasPut(t *testing.T) {
	s := startFaulty(t)
	for name, i := range map[string]image{"oci": makeImage(t, 1, 300_000), "docker": makeDockerImage(t, 2, 1000)} {
		t.Run(name, func(t *testing.T) {
			ref := s.Host() + "/library/" + name + ":v1"
			put(t, ref, plainOptions(nil), i)
			source := openSource(t, ref, plainOptions(nil))
			checkImage(t, source, i)
			tags, err := source.Tags(t.Context())
			if diff := cmp.Diff([]string{"v1"}, tags); diff != "" || err != nil {
				t.Errorf("tags: %v\n%s", err, diff)
			}
			byDigest := openSource(t, s.Host()+"/library/"+name+"@"+i.manifest.Digest.String(), plainOptions(nil))
			checkImage(t, byDigest, i)
		})
	}
}

func TestHeadIsOneRoundTrip(t *testing.T) {
	s := startFaulty(t)
	i := makeImage(t, 1, 1000)
	ref := s.Host() + "/x:v1"
	put(t, ref, plainOptions(nil), i)
	s.Reset()
	desc, known, err := openSource(t, ref, plainOptions(nil)).Head(t.Context())
	if err != nil || !known {
		t.Fatalf("head: %v, known %v", err, known)
	}
	if diff := cmp.Diff(i.manifest.Descriptor(), desc); diff != "" {
		t.Errorf("descriptor (-want +got):\n%s", diff)
	}
	if n := len(s.Requests()); n != 1 {
		t.Errorf("%d requests: %+v", n, s.Requests())
	}
	s.Plan(faultyregistry.Rule{Fault: faultyregistry.WithoutHeader("Docker-Content-Digest")})
	if _, known, err := openSource(t, ref, plainOptions(nil)).Head(t.Context()); known || err != nil {
		t.Errorf("without a digest: known %v, %v", known, err)
	}
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	s := startFaulty(t)
	put(t, s.Host()+"/x:v1", plainOptions(nil), makeImage(t, 1, 1000))
	ctx := t.Context()
	missing := digest.FromString("missing")
	source := openSource(t, s.Host()+"/x:v2", plainOptions(nil))
	if _, err := source.Manifest(ctx, ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("manifest by tag: %v", err)
	}
	if _, err := source.Manifest(ctx, missing); !errors.Is(err, ErrNotFound) {
		t.Errorf("manifest by digest: %v", err)
	}
	if _, _, err := source.Head(ctx); !errors.Is(err, ErrNotFound) {
		t.Errorf("head: %v", err)
	}
	if _, err := source.Blob(ctx, ocispec.Descriptor{Digest: missing, Size: 7}); !errors.Is(err, ErrNotFound) {
		t.Errorf("blob: %v", err)
	}
	list, err := source.Referrers(ctx, missing, "")
	if err != nil || len(list) != 0 {
		t.Errorf("referrers: %v %v", list, err)
	}
}

// TestBlobSurvives lets a registry break in every way that passes.
func TestBlobSurvives(t *testing.T) {
	f := faultyregistry.Drop(100_000)
	tests := map[string]struct {
		rules   []faultyregistry.Rule
		resumed int
		restart int
		retried int
	}{
		"connections that break":        {rules: []faultyregistry.Rule{{Times: 3, Fault: f}}, resumed: 3},
		"short bodies":                  {rules: []faultyregistry.Rule{{Times: 2, Fault: faultyregistry.Short(50_000)}}, resumed: 2},
		"bodies that stand still":       {rules: []faultyregistry.Rule{{Times: 1, Fault: faultyregistry.Stall(1234)}}, resumed: 1},
		"refused connections":           {rules: []faultyregistry.Rule{{Times: 2, Fault: faultyregistry.Refuse()}}, retried: 2},
		"500":                           {rules: []faultyregistry.Rule{{Times: 2, Fault: faultyregistry.Status(500)}}, retried: 2},
		"429 without Retry-After":       {rules: []faultyregistry.Rule{{Times: 2, Fault: faultyregistry.Status(429)}}, retried: 2},
		"429 with Retry-After":          {rules: []faultyregistry.Rule{{Times: 1, Fault: faultyregistry.Status(429, "Retry-After", "0")}}, retried: 1},
		"a server slow but alive":       {rules: []faultyregistry.Rule{{Fault: faultyregistry.Slow(100_000, 5*time.Millisecond)}}},
		"no ranges after a broken line": {rules: []faultyregistry.Rule{{Times: 1, Fault: f}, {Fault: faultyregistry.IgnoreRange()}}, resumed: 1, restart: 1},
		"no ranges, and a break while skipping": {
			rules:   []faultyregistry.Rule{{Times: 1, Fault: f}, {Times: 1, Fault: faultyregistry.Short(0)}, {Fault: faultyregistry.IgnoreRange()}},
			resumed: 2, restart: 1,
		},
		"wrong ranges":      {rules: []faultyregistry.Rule{{Times: 1, Fault: f}, {Fault: faultyregistry.WrongRange(10)}}, resumed: 1, restart: 1},
		"negative ranges":   {rules: []faultyregistry.Rule{{Times: 1, Fault: f}, {Fault: faultyregistry.WrongRange(-10)}}, resumed: 1, restart: 1},
		"refused ranges":    {rules: []faultyregistry.Rule{{Times: 1, Fault: f}, {Times: 1, Fault: faultyregistry.Status(416)}}, resumed: 1, restart: 1},
		"break, then 503":   {rules: []faultyregistry.Rule{{Times: 1, Fault: f}, {Times: 1, Fault: faultyregistry.Status(503)}}, resumed: 1, retried: 1},
		"many small breaks": {rules: []faultyregistry.Rule{{Times: 40, Fault: faultyregistry.Drop(70_000)}}, resumed: 40},
	}
	i := makeImage(t, 7, 3_000_000)
	desc, data := i.big()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startFaulty(t)
			ref := s.Host() + "/x:v1"
			put(t, ref, plainOptions(nil), i)
			for n := range test.rules {
				test.rules[n].Path, test.rules[n].Method = "/blobs/"+desc.Digest.String(), "GET"
			}
			s.Plan(test.rules...)
			var seen events
			opts := plainOptions(&seen)
			opts.IdleTimeout = 300 * time.Millisecond
			got, err := readBlob(t, openSource(t, ref, opts), desc)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, data) {
				t.Error("the content is another")
			}
			counts := [3]int{seen.count(EventResume), seen.count(EventRestart), seen.count(EventRetry)}
			if want := [3]int{test.resumed, test.restart, test.retried}; counts != want {
				t.Errorf("resumed, restarted, retried %v, want %v: %+v", counts, want, seen.list)
			}
		})
	}
}

// TestBlobEnds lets a registry break for good: there is an error, and not for ever.
func TestBlobEnds(t *testing.T) {
	tests := map[string]struct {
		fault faultyregistry.Fault
		want  error
		most  int // requests
	}{
		"always breaks":          {fault: faultyregistry.Drop(0), want: io.ErrUnexpectedEOF, most: 4},
		"one byte each":          {fault: faultyregistry.Drop(1), want: io.ErrUnexpectedEOF, most: 4},
		"always 500":             {fault: faultyregistry.Status(500), most: 4},
		"never again":            {fault: faultyregistry.Status(429, "Retry-After", "86400"), most: 1},
		"not there":              {fault: faultyregistry.Status(404), want: ErrNotFound, most: 1},
		"forbidden":              {fault: faultyregistry.Status(403), want: ErrDenied, most: 1},
		"not logged in":          {fault: faultyregistry.Status(401), want: ErrUnauthorized, most: 1},
		"redirect loop":          {fault: faultyregistry.RedirectLoop(), want: ErrLimit, most: 11},
		"a body without end":     {fault: faultyregistry.Endless(-1, "application/octet-stream"), want: ErrDigest, most: 1},
		"a body that is another": {fault: faultyregistry.Answer("application/octet-stream", []byte("x")), want: ErrDigest, most: 1},
		"teapot":                 {fault: faultyregistry.Status(418), most: 1},
	}
	i := makeImage(t, 7, 200_000)
	desc, _ := i.big()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startFaulty(t)
			ref := s.Host() + "/x:v1"
			put(t, ref, plainOptions(nil), i)
			s.Reset()
			s.Plan(faultyregistry.Rule{Path: "/blobs/", Fault: test.fault})
			opts := plainOptions(nil)
			opts.Retries = 3
			_, err := readBlob(t, openSource(t, ref, opts), desc)
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			if n := len(s.Requests()); n > test.most {
				t.Errorf("%d requests, at most %d are meant", n, test.most)
			}
		})
	}
}

func TestBlobFromAnOffset(t *testing.T) {
	s := startFaulty(t)
	i := makeImage(t, 7, 200_000)
	desc, data := i.big()
	ref := s.Host() + "/x:v1"
	put(t, ref, plainOptions(nil), i)
	source := openSource(t, ref, plainOptions(nil))
	for _, offset := range []int64{0, 1, 100_000, desc.Size - 1, desc.Size} {
		s.Reset()
		r, err := source.BlobFrom(t.Context(), desc, offset)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, data[offset:]) {
			t.Errorf("from %d: %v, %d bytes", offset, err, len(got))
		}
		r.Close()
		var sent int64
		for _, r := range s.Requests() {
			sent += r.Bytes
		}
		if sent != desc.Size-offset {
			t.Errorf("from %d: the server sent %d bytes", offset, sent)
		}
	}
	for _, offset := range []int64{-1, desc.Size + 1} {
		if _, err := source.BlobFrom(t.Context(), desc, offset); err == nil {
			t.Errorf("from %d: no error", offset)
		}
	}
	unknown := desc
	unknown.Size = UnknownSize
	if got, err := readBlob(t, source, unknown); err != nil || !bytes.Equal(got, data) {
		t.Errorf("with an unknown size: %v", err)
	}
}

func TestManifestRefusesLies(t *testing.T) {
	i := makeImage(t, 7, 1000)
	other := makeImage(t, 8, 1000)
	schema1 := []byte(`{"schemaVersion":1,"name":"x","tag":"v1","fsLayers":[],"history":[]}`)
	both := []byte(`{"schemaVersion":2,"manifests":[],"config":{},"layers":[]}`)
	const oci = ocispec.MediaTypeImageManifest
	tests := map[string]struct {
		fault    faultyregistry.Fault
		byDigest bool
		want     error
	}{
		"a digest of another":        {fault: faultyregistry.LieDigest(other.manifest.Digest.String()), want: ErrDigest},
		"a digest that is none":      {fault: faultyregistry.LieDigest("sha256:xyz"), want: ErrDigest},
		"another manifest":           {fault: faultyregistry.Answer(oci, other.manifest.Raw), byDigest: true, want: ErrDigest},
		"a changed byte":             {fault: faultyregistry.Corrupt(40), byDigest: true, want: ErrDigest},
		"a huge manifest":            {fault: faultyregistry.Endless(manifest.MaxSize+1, oci), want: ErrLimit},
		"a manifest without end":     {fault: faultyregistry.Endless(-1, oci), want: ErrLimit},
		"schema 1":                   {fault: faultyregistry.Answer("application/vnd.docker.distribution.manifest.v1+prettyjws", schema1), want: ErrUnsupported},
		"schema 1, unnamed":          {fault: faultyregistry.Answer("application/json", schema1), want: ErrUnsupported},
		"index and manifest at once": {fault: faultyregistry.Answer("application/json", both), want: manifest.ErrInvalid},
		"another media type":         {fault: faultyregistry.Answer(ocispec.MediaTypeImageIndex, i.manifest.Raw), want: manifest.ErrInvalid},
		"no JSON":                    {fault: faultyregistry.Answer("text/html", []byte("<html>hello</html>")), want: manifest.ErrInvalid},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startFaulty(t)
			ref := s.Host() + "/x:v1"
			put(t, ref, plainOptions(nil), i)
			if test.byDigest {
				ref = s.Host() + "/x@" + i.manifest.Digest.String()
			}
			s.Plan(faultyregistry.Rule{Path: "/manifests/", Fault: test.fault})
			_, err := openSource(t, ref, plainOptions(nil)).Manifest(t.Context(), "")
			if !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

func TestErrorsDoNotReachTheTerminalRaw(t *testing.T) {
	s := startFaulty(t)
	s.Plan(faultyregistry.Rule{Fault: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"errors":[{"code":"DENIED","message":"\u001b[2Jgone\n`+strings.Repeat("x", 5000)+`"}]}`)
	}})
	_, err := openSource(t, s.Host()+"/x:v1", plainOptions(nil)).Manifest(t.Context(), "")
	if err == nil || strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 700 || !strings.Contains(err.Error(), "DENIED") {
		t.Errorf("error %q", err)
	}
}

func TestWaitsEndWithTheContext(t *testing.T) {
	s := startFaulty(t)
	s.Plan(faultyregistry.Rule{Fault: faultyregistry.Status(429, "Retry-After", "200")})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := openSource(t, s.Host()+"/x:v1", plainOptions(nil)).Manifest(ctx, "")
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}

func TestCloseEndsReads(t *testing.T) {
	s := startFaulty(t)
	i := makeImage(t, 7, 200_000)
	desc, _ := i.big()
	ref := s.Host() + "/x:v1"
	put(t, ref, plainOptions(nil), i)
	s.Plan(faultyregistry.Rule{Path: "/blobs/", Fault: faultyregistry.Stall(1000)})
	source, err := OpenSource(t.Context(), parse(t, ref), plainOptions(nil))
	if err != nil {
		t.Fatal(err)
	}
	r, err := source.Blob(t.Context(), desc)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ended := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, r)
		ended <- err
	}()
	time.Sleep(20 * time.Millisecond)
	if err := source.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the read ended well")
		}
	case <-time.After(10 * time.Second):
		t.Error("the read goes on")
	}
}

func TestReferrersAPI(t *testing.T) {
	s := startFaulty(t)
	i := makeImage(t, 1, 1000)
	ref := s.Host() + "/x:v1"
	put(t, ref, plainOptions(nil), i)
	page := func(next string, types ...string) faultyregistry.Fault {
		x := emptyIndex()
		for _, artifactType := range types {
			m, _ := referrerOf(t, i.manifest.Descriptor(), artifactType, "")
			desc, err := manifest.Referrer(m.Raw)
			if err != nil {
				t.Fatal(err)
			}
			x.Manifests = append(x.Manifests, desc)
		}
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			if next != "" {
				w.Header().Set("Link", "<"+next+`>; rel="next"`)
			}
			_, _ = w.Write(toJSON(t, x))
		}
	}
	path := "/v2/x/referrers/" + i.manifest.Digest.String()
	s.Plan(
		faultyregistry.Rule{Path: path, Times: 1, Fault: page(path+"?page=2", "a", "b")},
		faultyregistry.Rule{Path: path, Times: 1, Fault: page("", "a", "c")},
		faultyregistry.Rule{Path: path, Times: 1, Fault: page("http://192.0.2.1/v2/", "a")},
		faultyregistry.Rule{Path: path, Times: 1, Fault: faultyregistry.Status(403)},
		faultyregistry.Rule{Path: path, Fault: page(path, "a")},
	)
	source := openSource(t, ref, plainOptions(nil))
	list, err := source.Referrers(t.Context(), i.manifest.Digest, "a")
	if err != nil || len(list) != 2 {
		t.Errorf("%d referrers: %v", len(list), err)
	}
	if query := s.Requests()[len(s.Requests())-1].Query; query != "page=2" {
		t.Errorf("the last query is %q", query)
	}
	for _, name := range []string{"a link to another host", "403"} {
		if _, err := source.Referrers(t.Context(), i.manifest.Digest, "a"); !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := source.Referrers(t.Context(), i.manifest.Digest, "a"); !errors.Is(err, ErrLimit) {
		t.Errorf("a list without end: %v", err)
	}
}

func TestTagsComeInPages(t *testing.T) {
	s := startFaulty(t)
	put(t, s.Host()+"/x:v1", plainOptions(nil), makeImage(t, 1, 1000))
	s.Plan(faultyregistry.Rule{Path: "/tags/list", Times: 1, Fault: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Link", `</v2/x/tags/list?last=b&n=2>; rel="next"`)
		_, _ = io.WriteString(w, `{"name":"x","tags":["b","a"]}`)
	}})
	tags, err := openSource(t, s.Host()+"/x:v1", plainOptions(nil)).Tags(t.Context())
	if diff := cmp.Diff([]string{"a", "b", "v1"}, tags); diff != "" || err != nil {
		t.Errorf("tags: %v\n%s", err, diff)
	}
}
