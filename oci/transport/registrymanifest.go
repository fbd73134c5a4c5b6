package transport

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/manifest"
)

// head asks for the descriptor of a manifest. It is false if the registry says too little.
func (e *endpoint) head(ctx context.Context, name string) (ocispec.Descriptor, bool, error) {
	res, err := e.do(ctx, request{
		method: http.MethodHead, path: "manifests/" + name, header: acceptManifests(), want: []int{http.StatusOK},
	})
	if errors.Is(err, ErrUnsupported) {
		return ocispec.Descriptor{}, false, nil
	}
	if err != nil {
		return ocispec.Descriptor{}, false, err
	}
	res.Body.Close()
	desc := ocispec.Descriptor{
		MediaType: res.Header.Get("Content-Type"), Digest: digest.Digest(res.Header.Get("Docker-Content-Digest")),
		Size: res.ContentLength,
	}
	known := manifest.CheckDescriptor(desc) == nil && (manifest.IsIndex(desc.MediaType) || manifest.IsManifest(desc.MediaType))
	if !known {
		return ocispec.Descriptor{}, false, nil
	}
	return desc, true, nil
}

func acceptManifests() http.Header { return http.Header{"Accept": manifest.Accepted()} }

// manifest reads a manifest by tag or digest and verifies it: against want, unless that is empty,
// and against the digest that the registry says it has.
func (e *endpoint) manifest(ctx context.Context, name string, want digest.Digest) (Manifest, error) {
	raw, header, err := e.document(ctx, request{
		method: http.MethodGet, path: "manifests/" + name, header: acceptManifests(), want: []int{http.StatusOK}, digest: want,
	})
	if err != nil {
		return Manifest{}, err
	}
	said := digest.Digest(header.Get("Docker-Content-Digest"))
	return verified(raw, header.Get("Content-Type"), want, said)
}

// verified makes a manifest of raw, if it has all the digests that are not empty.
func verified(raw []byte, mediaType string, digests ...digest.Digest) (Manifest, error) {
	m := Manifest{Raw: raw}
	for _, d := range digests {
		if d == "" {
			continue
		}
		if err := manifest.CheckDigest(d); err != nil {
			return Manifest{}, fmt.Errorf("%w: %w", ErrDigest, err)
		}
		if got := d.Algorithm().FromBytes(raw); got != d {
			return Manifest{}, fmt.Errorf("manifest has the digest %s instead of %s: %w", got, d, ErrDigest)
		}
		if m.Digest == "" {
			m.Digest = d
		}
	}
	if m.Digest == "" {
		m.Digest = digest.FromBytes(raw)
	}
	var err error
	m.MediaType, err = manifest.MediaType(raw, mediaType)
	if errors.Is(err, manifest.ErrSchema1) {
		err = fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return m, err
}
