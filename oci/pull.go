package oci

import (
	"context"
	"errors"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci/policy"
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
