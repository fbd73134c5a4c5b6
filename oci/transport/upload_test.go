package transport

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/internal/faultyregistry"
)

// rewindable is a reader that is made again, as one that compresses is.
type rewindable struct {
	io.Reader
	data  []byte
	times int
}

func (r *rewindable) Rewind() error {
	r.times++
	r.Reader = io.MultiReader(bytes.NewReader(r.data))
	return nil
}

func TestUploadSurvives(t *testing.T) {
	tests := map[string]struct {
		rules   []faultyregistry.Rule
		retried int
	}{
		"a broken connection":    {[]faultyregistry.Rule{{Method: "PATCH", Times: 2, Fault: faultyregistry.Refuse()}}, 2},
		"429":                    {[]faultyregistry.Rule{{Method: "PATCH", Times: 1, Fault: faultyregistry.Status(429)}}, 1},
		"500 at the beginning":   {[]faultyregistry.Rule{{Method: "POST", Times: 2, Fault: faultyregistry.Status(500)}}, 2},
		"503 at the end":         {[]faultyregistry.Rule{{Method: "PUT", Times: 1, Fault: faultyregistry.Status(503)}}, 1},
		"a lost answer":          {[]faultyregistry.Rule{{Method: "PUT", Times: 1, Fault: faultyregistry.Lost()}}, 1},
		"two faults one by one":  {[]faultyregistry.Rule{{Method: "PATCH", Times: 1, Fault: faultyregistry.Status(502)}, {Method: "PATCH", Times: 1, Fault: faultyregistry.Refuse()}}, 2},
		"a redirect":             {[]faultyregistry.Rule{{Method: "PATCH", Times: 1, Fault: redirectToItself}, {Method: "PUT", Times: 1, Fault: redirectToItself}}, 0},
		"everything, repeatedly": {[]faultyregistry.Rule{{Times: 3, Fault: faultyregistry.Refuse()}}, 3},
	}
	i := makeImage(t, 1, 1_000_000)
	desc, data := i.big()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startFaulty(t)
			var seen events
			s.Plan(test.rules...)
			d := openDestination(t, s.Host()+"/x:v1", plainOptions(&seen))
			defer d.Close()
			got, err := d.PutBlob(t.Context(), desc, bytes.NewReader(data))
			if err != nil || got.Digest != desc.Digest || got.Size != desc.Size {
				t.Fatalf("%+v: %v", got, err)
			}
			if n := seen.count(EventRetry); n != test.retried {
				t.Errorf("%d repetitions, want %d: %+v", n, test.retried, seen.list)
			}
			back, err := readBlob(t, openSource(t, s.Host()+"/x:v1", plainOptions(nil)), desc)
			if err != nil || !bytes.Equal(back, data) {
				t.Errorf("read back: %v", err)
			}
		})
	}
}

// redirectToItself sends the client to where it is, with its query, after it has sent its body.
func redirectToItself(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	_, _ = io.Copy(io.Discard, r.Body) // what comes of it does not matter
	http.Redirect(w, r, r.URL.RequestURI(), http.StatusTemporaryRedirect)
}

func TestUploadThatCannotBeginAgainFails(t *testing.T) {
	s := startFaulty(t)
	s.Plan(faultyregistry.Rule{Method: "PATCH", Times: 1, Fault: faultyregistry.Status(503)})
	i := makeImage(t, 1, 100_000)
	desc, data := i.big()
	d := openDestination(t, s.Host()+"/x:v1", plainOptions(nil))
	defer d.Close()
	if _, err := d.PutBlob(t.Context(), desc, io.MultiReader(bytes.NewReader(data))); err == nil {
		t.Fatal("no error")
	}
	if n := s.Count("DELETE", "/uploads/"); n != 1 {
		t.Errorf("the upload was given up %d times", n)
	}
	s.Reset()
	s.Plan(faultyregistry.Rule{Method: "PATCH", Times: 1, Fault: faultyregistry.Status(503)})
	r := &rewindable{Reader: io.MultiReader(bytes.NewReader(data)), data: data}
	if _, err := d.PutBlob(t.Context(), ocispec.Descriptor{}, r); err != nil || r.times != 1 {
		t.Errorf("begun again %d times: %v", r.times, err)
	}
}

func TestUploadsBeginWhereTheReaderIs(t *testing.T) {
	s := startFaulty(t)
	s.Plan(faultyregistry.Rule{Method: "PATCH", Times: 1, Fault: faultyregistry.Refuse()})
	r := bytes.NewReader([]byte("before content"))
	if _, err := r.Seek(7, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	d := openDestination(t, s.Host()+"/x:v1", plainOptions(nil))
	defer d.Close()
	want := describe("", []byte("content"))
	if got, err := d.PutBlob(t.Context(), ocispec.Descriptor{}, r); err != nil || got.Digest != want.Digest {
		t.Errorf("%+v: %v", got, err)
	}
}

func TestRegistryThatStoresSomethingElseIsNotBelieved(t *testing.T) {
	i := makeImage(t, 1, 1000)
	other := makeImage(t, 2, 1000).manifest.Digest.String()
	s := startFaulty(t)
	s.Plan(faultyregistry.Rule{Method: "PUT", Fault: faultyregistry.LieDigest(other)})
	d := openDestination(t, s.Host()+"/x:v1", plainOptions(nil))
	defer d.Close()
	if _, err := d.PutBlob(t.Context(), i.parsed.Config, bytes.NewReader(i.config)); !errors.Is(err, ErrDigest) {
		t.Errorf("blob: %v", err)
	}
	if err := d.PutManifest(t.Context(), i.manifest, true); !errors.Is(err, ErrDigest) {
		t.Errorf("manifest: %v", err)
	}
	byDigest := openDestination(t, s.Host()+"/x@"+other, plainOptions(nil))
	defer byDigest.Close()
	if err := byDigest.PutManifest(t.Context(), i.manifest, true); !errors.Is(err, ErrDigest) {
		t.Errorf("manifest under another digest: %v", err)
	}
}
