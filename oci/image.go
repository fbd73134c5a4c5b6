package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci/manifest"
	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/splitstream"
)

// Errors that callers branch on.
var (
	// ErrNotFound reports an image, or a variant of one, that is not in the repository.
	ErrNotFound = repository.ErrNotFound
	// ErrArtifact reports an artifact where a container image is wanted.
	ErrArtifact = errors.New("an artifact, not a container image")
	// ErrUnsupported reports an image of a form that nobody here knows.
	ErrUnsupported = errors.ErrUnsupported
	// ErrLimit reports an image that costs more than [Limits] allow.
	ErrLimit = errors.New("image beyond the limits")
	// ErrCorrupt reports what is not what it is said to be: in the repository, or where it comes from.
	ErrCorrupt = errors.New("corrupt image")
)

// Image is a container image, or an artifact, of a repository. It holds nothing open.
type Image struct {
	Digest    digest.Digest // of the manifest
	MediaType string        // of the manifest
	Manifest  ocispec.Manifest
	Config    ocispec.Image // zero for artifacts
	Artifact  bool
	Layers    []Layer

	RawManifest, RawConfig []byte

	images    map[string]fsverity.Digest // composefs images, by the keys of their variants
	referrers map[string]fsverity.Digest // named refs of the manifest: referrers that are kept with it
	sources   []string                   // where it was pulled from
}

// Rootfs returns the digest of a composefs image of the image. It is [ErrNotFound] if that was not made.
func (i *Image) Rootfs(v Variant) (fsverity.Digest, error) {
	if i.Artifact {
		return fsverity.Digest{}, fmt.Errorf("%s: %w", i.Digest, ErrArtifact)
	}
	d, ok := i.images[v.key()]
	if !ok {
		return fsverity.Digest{}, fmt.Errorf("composefs image (%s) of %s: %w", v, i.Digest, ErrNotFound)
	}
	return d, nil
}

// Rootfses returns all composefs images of the image, by their keys in the config's stream.
func (i *Image) Rootfses() map[string]fsverity.Digest { return i.images }

// Size returns how many bytes the manifest says that its blobs have.
func (i *Image) Size() int64 {
	n := int64(len(i.RawManifest)) + i.Manifest.Config.Size
	for _, l := range i.Layers {
		n += l.Size
	}
	return n
}

// Open reads the manifest and the config of an image. name is a tag, or "@" and the digest of a manifest;
// [ErrNotFound] reports one that is not there, and together with [ErrCorrupt] one of which something is missing.
func Open(ctx context.Context, r *repository.Repository, name string) (*Image, error) {
	id, err := resolve(r, name)
	if err != nil {
		return nil, err
	}
	img, err := load(ctx, repositoryStreams{r}, id)
	if err != nil {
		return nil, fmt.Errorf("open image %s: %w", name, broken(err))
	}
	return img, nil
}

// resolve returns the id of the manifest's stream.
func resolve(r *repository.Repository, name string) (string, error) {
	if at, ok := strings.CutPrefix(name, "@"); ok {
		d := digest.Digest(at)
		if err := manifest.CheckDigest(d); err != nil {
			return "", fmt.Errorf("%w: %w", ErrName, err)
		}
		return r.ResolveStream(manifestID(d))
	}
	if err := CheckTag(name); err != nil {
		return "", err
	}
	id, err := r.ResolveStream("refs/" + tagRef(name))
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("image %s: %w", name, ErrNotFound)
	}
	return id, err
}

// streams are where streams are read from: a repository, or a transaction.
type streams interface {
	OpenStream(id string) (*repository.Stream, error)
	OpenObject(digest fsverity.Digest) (*os.File, error)
}

type repositoryStreams struct{ *repository.Repository }

// load reads an image by the id of its manifest's stream.
func load(ctx context.Context, from streams, id string) (*Image, error) {
	d, ok := strings.CutPrefix(id, manifestPrefix)
	if !ok {
		return nil, fmt.Errorf("%w: %s is no manifest", ErrCorrupt, id)
	}
	raw, refs, err := readDocument(ctx, from, id, splitstream.Manifest, digest.Digest(d))
	if err != nil {
		return nil, err
	}
	img, err := parseImage(raw, digest.Digest(d))
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", d, err)
	}
	img.noteRefs(refs)
	img.RawConfig, refs, err = readDocument(ctx, from, configID(img.Manifest.Config.Digest), splitstream.Config, img.Manifest.Config.Digest)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	img.images = map[string]fsverity.Digest{}
	for _, ref := range refs {
		if isVariant(ref.Name) {
			img.images[ref.Name] = ref.Digest
		}
	}
	return img, img.setConfig(img.RawConfig)
}

// sourcePrefix is what named refs of a manifest begin with that say where it was pulled from. They lead to the
// config, for they have to lead somewhere.
const sourcePrefix = "composefs.source:"

// noteRefs takes from the named refs of the manifest's stream what is beside its content.
func (i *Image) noteRefs(refs []splitstream.NamedRef) {
	i.referrers = map[string]fsverity.Digest{}
	for _, ref := range refs {
		if strings.HasPrefix(ref.Name, referrerPrefix) {
			i.referrers[ref.Name] = ref.Digest
		}
		if source, ok := strings.CutPrefix(ref.Name, sourcePrefix); ok {
			i.sources = append(i.sources, source)
		}
	}
}

// Sources returns the references that the image was pulled from, as far as they are known.
func (i *Image) Sources() []string { return i.sources }

// Referrers returns the digests of the manifests about this one that are kept with it, sorted.
func (i *Image) Referrers() []digest.Digest {
	var list []digest.Digest
	for name := range i.referrers {
		list = append(list, digest.Digest(strings.TrimPrefix(name, referrerPrefix)))
	}
	slices.Sort(list)
	return list
}

// readDocument reads a small stream whose content has a digest.
func readDocument(ctx context.Context, from streams, id string, kind splitstream.ContentType, want digest.Digest) ([]byte, []splitstream.NamedRef, error) {
	s, err := from.OpenStream(id)
	if err != nil {
		return nil, nil, err
	}
	defer s.Close()
	if s.ContentType() != kind {
		return nil, nil, fmt.Errorf("%w: stream %s is %v, not %v", ErrCorrupt, id, s.ContentType(), kind)
	}
	if s.Size() > manifest.MaxSize {
		return nil, nil, fmt.Errorf("%w: stream %s has %d bytes", ErrCorrupt, id, s.Size())
	}
	var b strings.Builder
	if _, err := s.Copy(ctx, &b); err != nil {
		return nil, nil, fmt.Errorf("stream %s: %w", id, err)
	}
	raw := []byte(b.String())
	if err := checkContent(raw, want); err != nil {
		return nil, nil, fmt.Errorf("stream %s: %w", id, err)
	}
	return raw, s.NamedRefs(), nil
}

// checkContent returns nil for bytes that have a digest.
func checkContent(raw []byte, want digest.Digest) error {
	if err := manifest.CheckDigest(want); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if got := want.Algorithm().FromBytes(raw); got != want {
		return fmt.Errorf("%w: its digest is %s, not %s", ErrCorrupt, got, want)
	}
	return nil
}

// readBlob reads a blob that must be small, and checks it.
func readBlob(r io.Reader, d ocispec.Descriptor) ([]byte, error) {
	if d.Size < 0 || d.Size > manifest.MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are possible", ErrCorrupt, d.Size, manifest.MaxSize)
	}
	raw, err := io.ReadAll(io.LimitReader(r, d.Size+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) != d.Size {
		return nil, fmt.Errorf("%w: its size is not %d bytes", ErrCorrupt, d.Size)
	}
	return raw, checkContent(raw, d.Digest)
}
