package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/manifest"
)

// registryDestination writes an image to a registry, never to mirrors.
type registryDestination struct {
	ref   Reference
	opts  Options
	hosts *hosts
	at    *endpoint

	mu        sync.Mutex
	mounts    map[string]*endpoint // by the repository from which they mount
	referrers sync.Mutex           // one change of a referrers tag at a time
}

var _ Destination = (*registryDestination)(nil)

func openRegistryDestination(ref Reference, opts Options) (*registryDestination, error) {
	d := &registryDestination{ref: ref, opts: opts, mounts: map[string]*endpoint{}}
	places, err := opts.Registries.places(ref.registry, ref.repo, false)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", ref, err)
	}
	d.hosts = newHosts(&d.opts)
	d.at = newEndpoint(&d.opts, d.hosts, places[len(places)-1], "pull,push")
	return d, nil
}

// HasBlob implements [Destination].
func (d *registryDestination) HasBlob(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	if err := manifest.CheckDescriptor(desc); err != nil {
		return false, fmt.Errorf("look for a blob in %s: %w", d.ref, err)
	}
	res, err := d.at.do(ctx, request{
		method: http.MethodHead, path: "blobs/" + desc.Digest.String(), want: []int{http.StatusOK}, digest: desc.Digest,
	})
	if isMissing(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for blob %s in %s: %w", desc.Digest, d.ref, err)
	}
	res.Body.Close()
	return true, nil
}

// MountBlob implements [Destination].
func (d *registryDestination) MountBlob(ctx context.Context, desc ocispec.Descriptor, fromRepository string) (bool, error) {
	if err := manifest.CheckDescriptor(desc); err != nil {
		return false, fmt.Errorf("mount a blob in %s: %w", d.ref, err)
	}
	if fromRepository == d.ref.repo {
		return d.HasBlob(ctx, desc)
	}
	from, err := Parse("docker://" + d.ref.registry + "/" + fromRepository)
	if err != nil || from.registry != d.ref.registry || from.repo != fromRepository {
		return false, fmt.Errorf("mount blob %s from %q: %w", desc.Digest, fromRepository, ErrReference)
	}
	e := d.mounting(fromRepository)
	res, err := e.do(ctx, request{
		method: http.MethodPost, path: "blobs/uploads/", digest: desc.Digest,
		query: url.Values{"mount": {desc.Digest.String()}, "from": {fromRepository}},
		want:  []int{http.StatusCreated, http.StatusAccepted},
	})
	if err != nil {
		// Whoever may not read the other repository may still write this one.
		if ctx.Err() == nil && (errors.Is(err, ErrNotFound) || errors.Is(err, ErrDenied) || errors.Is(err, ErrUnauthorized)) {
			return false, nil
		}
		return false, fmt.Errorf("mount blob %s of %s in %s: %w", desc.Digest, fromRepository, d.ref, err)
	}
	drain(res)
	if res.StatusCode == http.StatusCreated {
		return true, nil
	}
	if at, err := e.sameHost(res.Request.URL, res.Header.Get("Location")); err == nil {
		d.abandon(ctx, at)
	}
	return false, nil
}

// mounting returns an endpoint that may read a repository besides writing its own.
func (d *registryDestination) mounting(repository string) *endpoint {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.mounts[repository]
	if e == nil {
		e = newEndpoint(&d.opts, d.hosts, d.at.place, "pull,push", "repository:"+repository+":pull")
		e.plain.Store(d.at.plain.Load())
		d.mounts[repository] = e
	}
	return e
}

// PutManifest implements [Destination].
func (d *registryDestination) PutManifest(ctx context.Context, m Manifest, tagged bool) error {
	m, err := verified(m.Raw, m.MediaType, m.Digest)
	if err != nil {
		return fmt.Errorf("write a manifest to %s: %w", d.ref, err)
	}
	name := m.Digest.String()
	if tagged {
		if d.ref.digest != "" && d.ref.digest != m.Digest {
			return fmt.Errorf("write manifest %s to %s: %w", m.Digest, d.ref, ErrDigest)
		}
		if d.ref.tag != "" {
			name = d.ref.tag
		}
	}
	knows, err := d.at.putManifest(ctx, name, m)
	if err != nil {
		return fmt.Errorf("write manifest %s to %s: %w", m.Digest, d.ref, err)
	}
	if subject, err := manifest.Subject(m.Raw); err != nil || subject == nil || knows {
		return err
	} else if err := d.addReferrer(ctx, subject.Digest, m); err != nil {
		return fmt.Errorf("record manifest %s in %s as a referrer of %s: %w", m.Digest, d.ref, subject.Digest, err)
	}
	return nil
}

// putManifest stores a manifest. The bool says whether the registry keeps record of referrers.
func (e *endpoint) putManifest(ctx context.Context, name string, m Manifest) (bool, error) {
	res, err := e.do(ctx, request{
		method: http.MethodPut, path: "manifests/" + name, header: http.Header{"Content-Type": {m.MediaType}},
		body:   func() (io.Reader, error) { return bytes.NewReader(m.Raw), nil },
		length: int64(len(m.Raw)), digest: m.Digest,
		want: []int{http.StatusCreated, http.StatusOK, http.StatusAccepted},
	})
	if err != nil {
		return false, err
	}
	drain(res)
	if got := digest.Digest(res.Header.Get("Docker-Content-Digest")); got != "" && got.Algorithm() == m.Digest.Algorithm() && got != m.Digest {
		return false, fmt.Errorf("the registry stored it as %s: %w", printable(got.String()), ErrDigest)
	}
	return res.Header.Get("OCI-Subject") != "", nil
}

// referrerAttempts bounds how often a referrers tag is written when others write it too.
const referrerAttempts = 5

// addReferrer adds a manifest to the index under the tag that stands in for the referrers API. The protocol
// has no way to change an index only if it is as it was, so it is read again afterwards.
func (d *registryDestination) addReferrer(ctx context.Context, subject digest.Digest, m Manifest) error {
	desc, err := manifest.Referrer(m.Raw)
	if err != nil {
		return err
	}
	desc.Digest = m.Digest
	d.referrers.Lock()
	defer d.referrers.Unlock()
	tag := referrersTag(subject)
	for attempt := range referrerAttempts {
		old, err := d.at.manifest(ctx, tag, "")
		if err != nil && !isMissing(err) {
			return err
		}
		var raw []byte
		if err == nil {
			raw = old.Raw
		}
		changed, isNew, err := withReferrer(raw, desc)
		if err != nil || !isNew {
			return err
		}
		if attempt == referrerAttempts-1 {
			break
		}
		index, err := NewManifest(changed)
		if err != nil {
			return err
		}
		if _, err := d.at.putManifest(ctx, tag, index); err != nil {
			return err
		}
	}
	return fmt.Errorf("others write the tag %s all the time", tag)
}

// Commit implements [Destination].
func (d *registryDestination) Commit(context.Context) error { return nil }

// Close implements [Destination].
func (d *registryDestination) Close() error {
	d.hosts.close()
	return nil
}
