package oci

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci/manifest"
	"github.com/go-composefs/composefs/oci/policy"
	"github.com/go-composefs/composefs/oci/tardiff"
	"github.com/go-composefs/composefs/oci/transport"
	"github.com/go-composefs/composefs/repository"
)

// PullOptions say what is pulled, and as what. The zero value pulls the image for this machine's platform and
// makes its canonical composefs image.
type PullOptions struct {
	// Name is the reference of the source, which is kept with the image: who uses the image later may
	// have rules for where it is from.
	Name string
	// Tags are names that the image gets; without one it goes with the next garbage collection.
	Tags []string
	// Platform chooses from an index; nil means that of this machine.
	Platform *ocispec.Platform
	// AllPlatforms pulls everything that an index names. The tags are those of the image for Platform.
	AllPlatforms bool
	Transform    Transform // the zero value means TransformCanonical
	Bootable     bool      // also makes the image for booting
	Limits       Limits
	// Jobs is how many layers are pulled at a time; 0 means 4.
	Jobs     int
	Progress Progress // nil: nobody is told
	// Rules are what the image has to keep to get its tags: an image that does not is
	// [policy.ErrRefused], and nothing of it gets a name.
	Rules policy.Rules
}

// Limits bound what an image may cost. Zero fields mean the defaults.
type Limits struct {
	LayerSize    int64 // bytes of a layer's tar; 1 TiB
	LayerRatio   int64 // how many times as large as its blob a tar may be, beyond 64 MiB; 2000
	MaxEntries   int   // entries of a layer; 16 million
	MaxSparse    int64 // bytes of a sparse file with its holes; 16 GiB
	MaxManifests int   // of an index that are pulled; 100
}

func (l *Limits) defaults() {
	if l.LayerSize == 0 {
		l.LayerSize = 1 << 40
	}
	if l.LayerRatio == 0 {
		l.LayerRatio = 2000
	}
	if l.MaxManifests == 0 {
		l.MaxManifests = 100
	}
}

// Pulled is what a pull did.
type Pulled struct {
	Image *Image
	// Rootfs is the composefs image, zero for an artifact; Boot the one for booting, if it was wanted.
	Rootfs, Boot fsverity.Digest
	// Unchanged says that everything was here already, under these tags.
	Unchanged bool
	Index     *transport.Manifest // what the reference named, if that was an index
	Others    []*Image            // for other platforms
	Verdicts  []*policy.Verdict   // why the rules let it in, one for each
	// KernelSignature says whether the kernel has the signature because of which they did.
	KernelSignature KernelSignature
	Stats           Stats
}

// Stats count what a pull moved.
type Stats struct {
	Layers        int   // that were read
	LayersPresent int   // that were here already
	Fetched       int64 // bytes of blobs that were read
	Objects       int   // new ones
	ObjectBytes   int64 // of those
	Present       int   // objects of the layers read that were here already
	PresentBytes  int64
}

// KeepInterrupted is how long the layers of a pull stay that did not end.
const KeepInterrupted = 24 * time.Hour

// pullAttempts is how often a pull begins again when another program collected its objects.
const pullAttempts = 3

// Pull brings an image into a repository. Layers that are there are not read again, and if the pull is ended
// early those that were complete stay for [KeepInterrupted], so that the next one goes on.
func Pull(ctx context.Context, r *repository.Repository, from transport.Source, opts PullOptions) (*Pulled, error) {
	for _, tag := range opts.Tags {
		if err := CheckTag(tag); err != nil {
			return nil, err
		}
	}
	if opts.Transform == "" {
		opts.Transform = TransformCanonical
	}
	if opts.Jobs <= 0 {
		opts.Jobs = 4
	}
	opts.Limits.defaults()
	opts.Progress = progressOf(opts.Progress)
	p := &puller{r: r, from: from, opts: opts}
	for attempt := 1; ; attempt++ {
		pulled, err := p.pull(ctx)
		if err == nil || attempt == pullAttempts || !errors.Is(err, repository.ErrCollected) {
			return pulled, err
		}
	}
}

// puller is one pull.
type puller struct {
	r    *repository.Repository
	from transport.Source
	opts PullOptions
	tx   *repository.Transaction

	mu     sync.Mutex
	layers map[string]fsverity.Digest // streams that are here, or are by now
	stats  Stats
}

func (p *puller) pull(ctx context.Context) (*Pulled, error) {
	p.layers, p.stats = map[string]fsverity.Digest{}, Stats{}
	d, known, err := p.from.Head(ctx)
	if err != nil {
		return nil, err
	}
	if known {
		if pulled := p.unchanged(ctx, d.Digest); pulled != nil {
			return pulled, p.accept(ctx, pulled)
		}
	}
	root, err := p.from.Manifest(ctx, d.Digest)
	if err != nil {
		return nil, err
	}
	if !known {
		if pulled := p.unchanged(ctx, root.Digest); pulled != nil {
			return pulled, p.accept(ctx, pulled)
		}
	}
	p.tx, err = p.r.Begin(ctx, repository.TransactionOptions{Owner: "pull " + p.opts.Name})
	if err != nil {
		return nil, err
	}
	defer p.tx.Abort()
	pulled, err := p.bring(ctx, root)
	if err == nil {
		err = p.approve(ctx, pulled)
	}
	if err == nil {
		err = p.tag(pulled)
	}
	if errors.Is(err, policy.ErrRefused) {
		return nil, err
	}
	if err != nil {
		return nil, errors.Join(err, p.keep(ctx))
	}
	if err := p.tx.Commit(ctx); err != nil {
		return nil, err
	}
	pulled.Stats = p.stats
	return pulled, errors.Join(p.tellKernel(ctx, pulled), p.tidy(ctx, pulled))
}

// bring brings in what the reference names.
func (p *puller) bring(ctx context.Context, root transport.Manifest) (*Pulled, error) {
	pulled := &Pulled{}
	if !manifest.IsIndex(root.MediaType) {
		var err error
		if isDelta(root.Raw) {
			pulled.Image, err = p.delta(ctx, root) // the rules are for what it makes
		} else if err = p.opts.Rules.CheckManifest(root.Digest); err == nil {
			pulled.Image, err = p.image(ctx, root)
		}
		if err != nil {
			return nil, err
		}
		return pulled, p.describe(pulled)
	}
	index, chosen, err := p.choose(root.Raw)
	if err != nil {
		return nil, err
	}
	pulled.Index = &root
	if err := p.opts.Rules.CheckManifest(chosen.Digest, root.Digest); err != nil {
		return nil, err
	}
	wanted := []ocispec.Descriptor{chosen}
	if p.opts.AllPlatforms {
		wanted = index.Manifests
	}
	if len(wanted) > p.opts.Limits.MaxManifests {
		return nil, fmt.Errorf("%w: an index of %d manifests, the limit is %d", ErrLimit, len(wanted), p.opts.Limits.MaxManifests)
	}
	streams := map[digest.Digest]fsverity.Digest{}
	for _, d := range wanted {
		m, err := p.from.Manifest(ctx, d.Digest)
		if err != nil {
			return nil, err
		}
		if manifest.IsIndex(m.MediaType) {
			return nil, fmt.Errorf("%w: an index in an index, %s", ErrUnsupported, d.Digest)
		}
		img, err := p.image(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
		}
		if d.Digest == chosen.Digest {
			pulled.Image = img
		} else {
			pulled.Others = append(pulled.Others, img)
		}
		if streams[d.Digest], err = p.tx.UseStream(manifestID(d.Digest)); err != nil {
			return nil, err
		}
	}
	if err := p.putIndex(ctx, root, streams); err != nil {
		return nil, err
	}
	return pulled, p.describe(pulled)
}

// isDelta says whether a manifest is that of a delta.
func isDelta(raw []byte) bool {
	m, err := manifest.ParseManifest(raw)
	return err == nil && tardiff.IsArtifact(m)
}

// choose reads an index, and chooses the manifest for the platform.
func (p *puller) choose(raw []byte) (ocispec.Index, ocispec.Descriptor, error) {
	index, err := manifest.ParseIndex(raw)
	if err != nil {
		return index, ocispec.Descriptor{}, err
	}
	platform := manifest.DefaultPlatform()
	if p.opts.Platform != nil {
		platform = *p.opts.Platform
	}
	chosen, err := manifest.Select(index, platform)
	return index, chosen, err
}

// describe tells of the composefs images of what was pulled.
func (p *puller) describe(pulled *Pulled) error {
	if pulled.Image.Artifact {
		return nil
	}
	v := Variant{Format: p.r.Meta().Format(), Transform: p.opts.Transform}
	var err error
	if pulled.Rootfs, err = pulled.Image.Rootfs(v); err != nil || !p.opts.Bootable {
		return err
	}
	v.Bootable = true
	pulled.Boot, err = pulled.Image.Rootfs(v)
	return err
}

// approve holds what was pulled against the rules.
func (p *puller) approve(ctx context.Context, pulled *Pulled) error {
	if len(p.opts.Rules.All()) == 0 {
		return nil
	}
	opts := evidenceOptions{
		from: repositoryStreams{p.r}, store: digestOnly{p.r.Algorithm()}, limits: p.opts.Limits, format: p.r.Meta().Format(), alg: p.r.Algorithm(), boot: p.opts.Bootable,
	}
	if p.tx != nil {
		opts.from, opts.store = p.tx, p.tx.Objects()
	}
	if pulled.Index != nil {
		opts.index = pulled.Index.Digest
	}
	e, err := evidence(ctx, pulled.Image, opts)
	if err == nil {
		pulled.Verdicts, err = p.opts.Rules.Check(e)
	}
	if err != nil {
		return err
	}
	for _, other := range pulled.Others {
		opts.boot = p.opts.Bootable
		e, err := evidence(ctx, other, opts)
		if err == nil {
			_, err = p.opts.Rules.Check(e)
		}
		if err != nil {
			return fmt.Errorf("manifest %s: %w", other.Digest, err)
		}
	}
	return nil
}

// tag gives the image its tags on commit.
func (p *puller) tag(pulled *Pulled) error {
	for _, tag := range p.opts.Tags {
		if err := p.tx.TagStream(tagRef(tag), manifestID(pulled.Image.Digest)); err != nil {
			return err
		}
		if pulled.Index == nil {
			continue
		}
		if err := p.tx.TagStream(indexRef(tag), indexID(pulled.Index.Digest)); err != nil {
			return err
		}
	}
	return nil
}

// tidy removes what the tags had before and do not have now, and leases of pulls that did not end.
func (p *puller) tidy(ctx context.Context, pulled *Pulled) error {
	if pulled.Index == nil {
		for _, tag := range p.opts.Tags {
			if err := removeIndexRef(ctx, p.r, tag); err != nil {
				return err
			}
		}
	}
	leases, err := p.r.Leases()
	if err != nil {
		return err
	}
	for _, l := range leases {
		if l.Owner != p.leaseOwner() || l.Held {
			continue
		}
		if err := p.r.RemoveLease(l.ID); err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, repository.ErrInUse) {
			return err
		}
	}
	return nil
}

// leaseOwner names the lease of a pull of this reference that did not end.
func (p *puller) leaseOwner() string { return "interrupted pull of " + p.opts.Name }

// keep commits the layers that are complete after a pull has failed, without any name, and leases them for
// the next attempt. It goes on when the pull was given up.
func (p *puller) keep(ctx context.Context) error {
	p.mu.Lock()
	moved := p.stats.Layers
	digests := slices.Collect(maps.Values(p.layers))
	p.mu.Unlock()
	if moved == 0 {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	lease, err := p.r.NewLease(ctx, p.leaseOwner(), KeepInterrupted)
	if err != nil {
		return err
	}
	if err := lease.Keep(digests...); err != nil {
		return errors.Join(err, lease.Release())
	}
	if err := p.tx.Commit(ctx); err != nil {
		return errors.Join(err, lease.Release())
	}
	return lease.Abandon()
}
