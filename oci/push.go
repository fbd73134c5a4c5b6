package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/go-composefs/composefs/oci/manifest"
	"github.com/go-composefs/composefs/oci/transport"
	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/splitstream"
)

// PushOptions say how an image is pushed. The zero value gives layers back as they were compressed when they
// were pulled, where that can be made again; a layer of which it cannot is compressed anew with gzip or zstd,
// whichever it had, and so the image gets another digest.
type PushOptions struct {
	Compression Compression // the zero value means CompressionOriginal
	Level       int         // of what is compressed anew; 0 means the compressor's default
	// AllPlatforms pushes the index that the tag was pulled from, with all manifests of it that are here.
	AllPlatforms bool
	// MountFrom are repositories of the destination's registry that may have the layers already.
	MountFrom []string
	Jobs      int      // layers at a time; 0 means 4
	Progress  Progress // nil: nobody is told
}

// Pushed is what a push did.
type Pushed struct {
	Manifest      transport.Manifest // what the destination's name stands for now
	Original      bool               // it is what was pulled, bit for bit
	Recompressed  []digest.Digest    // layers that were compressed anew, by their old digests
	Layers        int                // that were written
	LayersPresent int                // that the destination had
	Bytes         int64              // of blobs that were written
	Referrers     int                // artifacts about the image that went with it
	ReferrersLeft int                // those that did not: it is another image there, or there is no place for them
}

// Push gives an image, named as [Open] takes it, to a destination, and commits that.
func Push(ctx context.Context, r *repository.Repository, name string, to transport.Destination, opts PushOptions) (*Pushed, error) {
	if opts.Jobs <= 0 {
		opts.Jobs = 4
	}
	opts.Progress = progressOf(opts.Progress)
	p := &pusher{r: r, to: to, opts: opts, blobs: map[digest.Digest]ocispec.Descriptor{}}
	if err := p.push(ctx, name); err != nil {
		return nil, fmt.Errorf("push %s: %w", name, err)
	}
	return &p.pushed, nil
}

// pusher is one push.
type pusher struct {
	r    *repository.Repository
	to   transport.Destination
	opts PushOptions

	mu        sync.Mutex
	blobs     map[digest.Digest]ocispec.Descriptor // what layers became, by their old digests
	referrers []digest.Digest                      // of images that went as they are
	pushed    Pushed
}

func (p *pusher) push(ctx context.Context, name string) error {
	if p.opts.AllPlatforms {
		id, err := p.r.ResolveStream("refs/" + indexRef(name))
		if err == nil {
			d, err := digestIn(id, indexPrefix)
			if err != nil {
				return err
			}
			return p.index(ctx, d)
		}
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		// It was pulled from no index: then it is for all there are.
	}
	img, err := Open(ctx, p.r, name)
	if err != nil {
		return err
	}
	m, err := p.image(ctx, img)
	if err != nil {
		return err
	}
	p.pushed.Original = m.Digest == img.Digest
	return p.finish(ctx, m)
}

// finish puts what the destination's name shall stand for.
func (p *pusher) finish(ctx context.Context, m transport.Manifest) error {
	if err := p.to.PutManifest(ctx, m, true); err != nil {
		return err
	}
	p.pushed.Manifest = m
	for _, d := range p.referrers {
		if err := p.referrer(ctx, d); err != nil {
			return fmt.Errorf("referrer %s: %w", d, err)
		}
	}
	return p.to.Commit(ctx)
}

// referrer puts an artifact that is kept with an image, unless the destination has no place for such.
func (p *pusher) referrer(ctx context.Context, d digest.Digest) error {
	about, err := load(ctx, repositoryStreams{p.r}, manifestID(d))
	if err != nil {
		return err
	}
	m, err := p.image(ctx, about)
	if err == nil {
		err = p.to.PutManifest(ctx, m, false)
	}
	if errors.Is(err, transport.ErrUnsupported) {
		p.pushed.ReferrersLeft++
		return nil
	}
	if err == nil {
		p.pushed.Referrers++
	}
	return err
}

// index puts the manifests of an index that are here, and the index, without those that are not.
func (p *pusher) index(ctx context.Context, d digest.Digest) error {
	raw, refs, err := readDocument(ctx, repositoryStreams{p.r}, indexID(d), splitstream.Index, d)
	if err != nil {
		return err
	}
	became := map[digest.Digest]*ocispec.Descriptor{}
	index, err := manifest.ParseIndex(raw)
	if err != nil {
		return err
	}
	here := refsOf(refs)
	changed := false
	for _, desc := range index.Manifests {
		if _, ok := here[desc.Digest.String()]; !ok {
			became[desc.Digest], changed = nil, true
			continue
		}
		img, err := load(ctx, repositoryStreams{p.r}, manifestID(desc.Digest))
		if err != nil {
			return err
		}
		m, err := p.image(ctx, img)
		if err != nil {
			return fmt.Errorf("manifest %s: %w", desc.Digest, err)
		}
		if err := p.to.PutManifest(ctx, m, false); err != nil {
			return err
		}
		if m.Digest != desc.Digest {
			changed = true
			d := m.Descriptor()
			became[desc.Digest] = &d
		}
	}
	if changed {
		if raw, err = rewriteIndex(raw, became); err != nil {
			return err
		}
	}
	m, err := transport.NewManifest(raw)
	if err != nil {
		return err
	}
	if !changed {
		m.Digest = d
	}
	p.pushed.Original = !changed
	return p.finish(ctx, m)
}

// image puts the blobs of an image, and returns the manifest that names them.
func (p *pusher) image(ctx context.Context, img *Image) (transport.Manifest, error) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(p.opts.Jobs)
	begun := map[digest.Digest]struct{}{}
	for _, l := range img.Layers {
		if _, ok := begun[l.Digest]; ok {
			continue
		}
		begun[l.Digest] = struct{}{}
		g.Go(func() error {
			if err := p.layer(gctx, l); err != nil {
				return fmt.Errorf("layer %s: %w", l.Digest, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return transport.Manifest{}, err
	}
	if err := p.config(ctx, img); err != nil {
		return transport.Manifest{}, fmt.Errorf("config: %w", err)
	}
	p.mu.Lock()
	became := maps.Clone(p.blobs)
	p.mu.Unlock()
	changed := slices.ContainsFunc(img.Layers, func(l Layer) bool { return became[l.Digest].Digest != l.Digest })
	if !changed {
		p.referrers = append(p.referrers, img.Referrers()...)
		return transport.Manifest{Raw: img.RawManifest, MediaType: img.MediaType, Digest: img.Digest}, nil
	}
	p.pushed.ReferrersLeft += len(img.referrers)
	raw, err := rewriteLayers(img.RawManifest, became)
	if err != nil {
		return transport.Manifest{}, err
	}
	return transport.NewManifest(raw)
}

func (p *pusher) config(ctx context.Context, img *Image) error {
	d := img.Manifest.Config
	if ok, err := p.to.HasBlob(ctx, d); err != nil || ok {
		return err
	}
	_, err := p.to.PutBlob(ctx, d, bytes.NewReader(img.RawConfig))
	return err
}

// layer puts the blob of a layer, unless the destination has it.
func (p *pusher) layer(ctx context.Context, l Layer) error {
	p.mu.Lock()
	_, done := p.blobs[l.Digest]
	p.mu.Unlock()
	if done {
		return nil
	}
	if p.opts.Compression.keeps(l) {
		ok, err := p.present(ctx, l)
		if err != nil {
			return err
		}
		if ok {
			p.opts.Progress.End(l.Digest, OutcomePresent)
			p.note(l, l.Descriptor, false, 0)
			return nil
		}
	}
	p.opts.Progress.Begin(l.Digest, l.Size)
	desc, err := p.write(ctx, l)
	if err != nil {
		p.opts.Progress.End(l.Digest, OutcomeFailed)
		return err
	}
	p.opts.Progress.End(l.Digest, OutcomeMoved)
	p.note(l, desc, true, desc.Size)
	return nil
}

// present says whether the destination has the original blob, or can take it from beside.
func (p *pusher) present(ctx context.Context, l Layer) (bool, error) {
	ok, err := p.to.HasBlob(ctx, l.Descriptor)
	for _, from := range p.opts.MountFrom {
		if err != nil || ok {
			break
		}
		ok, err = p.to.MountBlob(ctx, l.Descriptor, from)
	}
	return ok, err
}

func (p *pusher) note(l Layer, desc ocispec.Descriptor, written bool, size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blobs[l.Digest] = desc
	if desc.Digest != l.Digest {
		p.pushed.Recompressed = append(p.pushed.Recompressed, l.Digest)
	}
	if written {
		p.pushed.Layers++
		p.pushed.Bytes += size
	} else {
		p.pushed.LayersPresent++
	}
}
