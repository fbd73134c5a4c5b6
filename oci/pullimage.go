package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci/manifest"
	"github.com/go-composefs/composefs/oci/transport"
	"github.com/go-composefs/composefs/splitstream"
)

// image brings in one image: config, layers, composefs images, and the streams that name them.
func (p *puller) image(ctx context.Context, m transport.Manifest) (*Image, error) {
	img, err := parseImage(m.Raw, m.Digest)
	if err != nil {
		return nil, err
	}
	if err := p.config(ctx, img); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if err := p.pullLayers(ctx, img); err != nil {
		return nil, err
	}
	if !img.Artifact {
		if err := p.compose(ctx, img); err != nil {
			return nil, err
		}
	}
	if err := p.findReferrers(ctx, img); err != nil {
		return nil, err
	}
	return img, p.putImage(ctx, img)
}

// config reads the config of an image, from the repository if it is there, with the composefs images that
// were made of it.
func (p *puller) config(ctx context.Context, img *Image) error {
	d := img.Manifest.Config
	img.images = map[string]fsverity.Digest{}
	raw, refs, err := readDocument(ctx, p.tx, configID(d.Digest), splitstream.Config, d.Digest)
	if err == nil {
		for _, ref := range refs {
			if !isVariant(ref.Name) {
				continue
			}
			if err := p.tx.Use(ref.Digest); errors.Is(err, ErrNotFound) {
				continue
			} else if err != nil {
				return err
			}
			img.images[ref.Name] = ref.Digest
		}
		return img.setConfig(raw)
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	for {
		raw, err = p.fetchConfig(ctx, img)
		if err == nil || ctx.Err() != nil || !isWrong(err) || !p.from.Reject(d.Digest) {
			break
		}
	}
	if err != nil {
		return err
	}
	return img.setConfig(raw)
}

func (p *puller) fetchConfig(ctx context.Context, img *Image) ([]byte, error) {
	d := img.Manifest.Config
	// An empty config may be within the manifest.
	if len(d.Data) > 0 && int64(len(d.Data)) == d.Size && checkContent(d.Data, d.Digest) == nil {
		return d.Data, nil
	}
	r, err := p.from.Blob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readBlob(r, d)
}

// putImage puts the streams of the config and the manifest, unless they are there and say the same.
func (p *puller) putImage(ctx context.Context, img *Image) error {
	refs := map[string]fsverity.Digest{}
	p.mu.Lock()
	for _, l := range img.Layers {
		refs[l.DiffID.String()] = p.layers[l.Stream]
	}
	p.mu.Unlock()
	configRefs := maps.Clone(refs)
	maps.Copy(configRefs, img.images)
	config, err := p.document(ctx, configID(img.Manifest.Config.Digest), splitstream.Config, img.RawConfig, configRefs)
	if err != nil {
		return err
	}
	if img.MediaType == manifest.DockerManifest {
		// composefs-rs takes these for artifacts, whose layers it looks for by their blobs.
		for _, l := range img.Layers {
			refs[l.Digest.String()] = refs[l.DiffID.String()]
		}
	}
	refs["config:"+img.Manifest.Config.Digest.String()] = config
	maps.Copy(refs, img.referrers)
	for _, source := range img.sources {
		refs[sourcePrefix+source] = config
	}
	_, err = p.document(ctx, manifestID(img.Digest), splitstream.Manifest, img.RawManifest, refs)
	return err
}

// putIndex puts the stream of an index, with refs to the manifests of it that are here.
func (p *puller) putIndex(ctx context.Context, m transport.Manifest, manifests map[digest.Digest]fsverity.Digest) error {
	refs := map[string]fsverity.Digest{}
	for d, stream := range manifests {
		refs[d.String()] = stream
	}
	// Those that an earlier pull brought stay.
	if s, err := p.tx.OpenStream(indexID(m.Digest)); err == nil {
		for _, ref := range s.NamedRefs() {
			if d, err := p.tx.UseStream(manifestPrefix + ref.Name); err == nil {
				refs[ref.Name] = d
			}
		}
		if err := s.Close(); err != nil {
			return err
		}
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	_, err := p.document(ctx, indexID(m.Digest), splitstream.Index, m.Raw, refs)
	return err
}

// document puts a JSON document as a stream: all of it is one object, as in composefs-rs.
func (p *puller) document(ctx context.Context, id string, kind splitstream.ContentType, raw []byte, refs map[string]fsverity.Digest) (fsverity.Digest, error) {
	if s, err := p.tx.OpenStream(id); err == nil {
		same := s.ContentType() == kind && maps.Equal(refsOf(s.NamedRefs()), refs)
		if err := s.Close(); err != nil {
			return fsverity.Digest{}, err
		}
		if same {
			if d, err := p.tx.UseStream(id); !errors.Is(err, ErrNotFound) {
				return d, err
			}
		}
	}
	stored, err := p.tx.Objects().PutReader(ctx, bytes.NewReader(raw))
	if err != nil {
		return fsverity.Digest{}, err
	}
	w := p.tx.NewStream(kind)
	defer w.Close()
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		w.NamedRef(name, refs[name])
	}
	w.Object(stored.Digest, int64(len(raw)))
	return p.tx.PutStream(ctx, id, w)
}

func refsOf(named []splitstream.NamedRef) map[string]fsverity.Digest {
	refs := make(map[string]fsverity.Digest, len(named))
	for _, ref := range named {
		refs[ref.Name] = ref.Digest
	}
	return refs
}

// unchanged returns what a pull of a manifest or index would bring, if all of that is here already under all
// the tags; else nil. Nothing is written and nothing fetched for it.
func (p *puller) unchanged(ctx context.Context, d digest.Digest) *Pulled {
	if len(p.opts.Tags) == 0 || p.opts.AllPlatforms {
		return nil
	}
	pulled := &Pulled{Unchanged: true}
	want := d
	raw, _, err := readDocument(ctx, repositoryStreams{p.r}, indexID(d), splitstream.Index, d)
	if err == nil {
		_, chosen, err := p.choose(raw)
		if err != nil {
			return nil
		}
		want = chosen.Digest
		index, err := transport.NewManifest(raw)
		if err != nil {
			return nil
		}
		index.Digest = d
		pulled.Index = &index
	}
	for _, tag := range p.opts.Tags {
		id, err := p.r.ResolveStream("refs/" + tagRef(tag))
		if err != nil || id != manifestID(want) {
			return nil
		}
		if id, err := p.r.ResolveStream("refs/" + indexRef(tag)); pulled.Index != nil && (err != nil || id != indexID(d)) {
			return nil
		}
	}
	pulled.Image, err = load(ctx, repositoryStreams{p.r}, manifestID(want))
	if err != nil || p.describe(pulled) != nil {
		return nil
	}
	for _, image := range []fsverity.Digest{pulled.Rootfs, pulled.Boot} {
		if image.IsZero() {
			continue
		}
		if _, err := p.r.ResolveImage(image.String()); err != nil {
			return nil
		}
		if _, err := p.r.StatObject(image); err != nil {
			return nil
		}
	}
	// What a repair has taken out of use is brought in anew. All files of all layers would take too long.
	for _, l := range pulled.Image.Layers {
		s, err := p.r.OpenStream(l.Stream)
		if err != nil {
			return nil
		}
		s.Close() // nothing was written
	}
	pulled.Stats.LayersPresent = len(pulled.Image.Layers)
	return pulled
}
