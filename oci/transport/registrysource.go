package transport

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/manifest"
)

// registrySource reads an image in a registry and its mirrors.
type registrySource struct {
	ref      Reference
	opts     Options
	hosts    *hosts
	byTag    []*endpoint // in the order in which they are asked, the registry itself last
	byDigest []*endpoint
	ctx      context.Context // ends with Close
	cancel   context.CancelCauseFunc

	mu       sync.Mutex
	servers  map[digest.Digest][]*endpoint // who gave a blob or parts of it, in the order in which they were asked
	rejected map[digest.Digest][]*endpoint // who gave a wrong one
}

var _ Source = (*registrySource)(nil)

func openRegistrySource(ref Reference, opts Options) (*registrySource, error) {
	s := &registrySource{
		ref: ref, opts: opts, servers: map[digest.Digest][]*endpoint{}, rejected: map[digest.Digest][]*endpoint{},
	}
	s.hosts = newHosts(&s.opts)
	known := map[place]*endpoint{}
	for _, list := range []struct {
		byDigest bool
		to       *[]*endpoint
	}{{false, &s.byTag}, {true, &s.byDigest}} {
		places, err := opts.Registries.places(ref.registry, ref.repo, list.byDigest)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", ref, err)
		}
		for _, p := range places {
			if known[p] == nil {
				known[p] = newEndpoint(&s.opts, s.hosts, p, "pull")
				if p.mirror {
					// The next one is as good, and asked sooner than this one comes back.
					known[p].retries = min(known[p].retries, 1)
				}
			}
			*list.to = append(*list.to, known[p])
		}
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s, nil
}

// named returns the endpoints to ask for what the reference names.
func (s *registrySource) named() []*endpoint {
	if s.ref.digest != "" {
		return s.byDigest
	}
	return s.byTag
}

// bind returns a context that ends with the source as well.
func (s *registrySource) bind(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	unbind := context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })
	return ctx, func() {
		unbind()
		cancel(nil)
	}
}

// each asks one endpoint after the other until one can answer. The error is that of the
// last one, which is the registry itself.
func (s *registrySource) each(ctx context.Context, endpoints []*endpoint, d digest.Digest, ask func(context.Context, *endpoint) error) error {
	ctx, stop := s.bind(ctx)
	defer stop()
	for i, e := range endpoints {
		err := ask(ctx, e)
		if err == nil || ctx.Err() != nil || i == len(endpoints)-1 {
			return err
		}
		s.opts.event(Event{Kind: EventMirror, Host: e.place.host, Digest: d, Err: err})
	}
	return fmt.Errorf("nobody to ask: %w", ErrNotFound)
}

// Manifest implements [Source].
func (s *registrySource) Manifest(ctx context.Context, d digest.Digest) (Manifest, error) {
	endpoints := s.byDigest
	if d == "" {
		d, endpoints = s.ref.digest, s.named()
	}
	name := d.String()
	if d == "" {
		name = s.ref.tag
	} else if err := manifest.CheckDigest(d); err != nil {
		return Manifest{}, fmt.Errorf("read a manifest of %s: %w", s.ref, err)
	}
	var m Manifest
	err := s.each(ctx, endpoints, d, func(ctx context.Context, e *endpoint) error {
		var err error
		m, err = e.manifest(ctx, name, d)
		return err
	})
	if err != nil {
		return Manifest{}, fmt.Errorf("read manifest %s of %s: %w", name, s.ref, err)
	}
	return m, nil
}

// Head implements [Source].
func (s *registrySource) Head(ctx context.Context) (ocispec.Descriptor, bool, error) {
	name := s.ref.tag
	if s.ref.digest != "" {
		name = s.ref.digest.String()
	}
	var desc ocispec.Descriptor
	var known bool
	err := s.each(ctx, s.named(), s.ref.digest, func(ctx context.Context, e *endpoint) error {
		var err error
		desc, known, err = e.head(ctx, name)
		if err == nil && known && s.ref.digest != "" && desc.Digest != s.ref.digest {
			err = fmt.Errorf("the server says that it is %s: %w", desc.Digest, ErrDigest)
		}
		return err
	})
	if err != nil {
		return ocispec.Descriptor{}, false, fmt.Errorf("look up %s: %w", s.ref, err)
	}
	return desc, known, nil
}

// Blob implements [Source].
func (s *registrySource) Blob(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return s.BlobFrom(ctx, desc, 0)
}

// BlobFrom implements [Source].
func (s *registrySource) BlobFrom(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	if err := checkOffset(desc, offset); err != nil {
		return nil, fmt.Errorf("read blob of %s: %w", s.ref, err)
	}
	places := s.trusted(desc.Digest)
	if len(places) == 0 {
		return nil, fmt.Errorf("read blob %s of %s: whoever has it gave another content: %w", desc.Digest, s.ref, ErrDigest)
	}
	b := &blobReader{source: s, desc: desc, places: places, offset: offset}
	b.ctx, b.stop = s.bind(ctx)
	if err := b.open(); err != nil {
		b.stop()
		return nil, fmt.Errorf("read blob %s of %s: %w", desc.Digest, s.ref, err)
	}
	return b, nil
}

// checkOffset refuses descriptors and offsets that no blob has.
func checkOffset(desc ocispec.Descriptor, offset int64) error {
	if err := manifest.CheckDigest(desc.Digest); err != nil {
		return err
	}
	switch {
	case desc.Size < UnknownSize:
		return fmt.Errorf("blob %s has size %d", desc.Digest, desc.Size)
	case offset < 0, desc.Size >= 0 && offset > desc.Size:
		return fmt.Errorf("blob %s of %d bytes has no offset %d", desc.Digest, desc.Size, offset)
	}
	return nil
}

// trusted returns the endpoints that have not given a wrong blob.
func (s *registrySource) trusted(d digest.Digest) []*endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.byDigest), func(e *endpoint) bool {
		return slices.Contains(s.rejected[d], e)
	})
}

// served records who gives a blob from an offset on.
func (s *registrySource) served(d digest.Digest, e *endpoint, offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if offset == 0 {
		s.servers[d] = nil
	}
	if !slices.Contains(s.servers[d], e) {
		s.servers[d] = append(s.servers[d], e)
	}
}

// Reject implements [Source].
func (s *registrySource) Reject(d digest.Digest) bool {
	s.mu.Lock()
	liars := s.servers[d]
	if len(liars) > 1 {
		// Which part was wrong nobody knows; the last one stepped in for the others.
		liars = liars[:len(liars)-1]
	}
	delete(s.servers, d)
	s.rejected[d] = append(s.rejected[d], liars...)
	s.mu.Unlock()
	if len(liars) == 0 || len(s.trusted(d)) == 0 {
		return false
	}
	for _, e := range liars {
		s.opts.event(Event{
			Kind: EventMirror, Host: e.place.host, Digest: d, Err: fmt.Errorf("blob %s: %w", d, ErrDigest),
		})
	}
	return true
}

// Referrers implements [Source].
func (s *registrySource) Referrers(ctx context.Context, subject digest.Digest, artifactType string) ([]ocispec.Descriptor, error) {
	if err := manifest.CheckDigest(subject); err != nil {
		return nil, fmt.Errorf("list referrers in %s: %w", s.ref, err)
	}
	var list []ocispec.Descriptor
	err := s.each(ctx, s.byDigest, subject, func(ctx context.Context, e *endpoint) error {
		var err error
		list, err = e.referrers(ctx, subject, artifactType)
		if err == nil && len(list) == 0 && e.place.mirror {
			// Mirrors have what somebody asked them for: that there is none only the registry knows.
			return fmt.Errorf("no referrers in a mirror: %w", ErrNotFound)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list referrers of %s in %s: %w", subject, s.ref, err)
	}
	return list, nil
}

// Tags implements [Source].
func (s *registrySource) Tags(ctx context.Context) ([]string, error) {
	var tags []string
	// A mirror has the tags that somebody asked it for.
	own := s.byTag[len(s.byTag)-1:]
	err := s.each(ctx, own, "", func(ctx context.Context, e *endpoint) error {
		var err error
		tags, err = e.tags(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list tags of %s: %w", s.ref, err)
	}
	return tags, nil
}

// Close implements [Source].
func (s *registrySource) Close() error {
	s.cancel(fs.ErrClosed)
	s.hosts.close()
	return nil
}
