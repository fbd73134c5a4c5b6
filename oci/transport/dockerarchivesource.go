package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/manifest"
)

// dockerArchiveIndex is the file that says which images an archive has.
const dockerArchiveIndex = "manifest.json"

// maxLayers bounds the layers of an image here. Docker stops at 127.
const maxLayers = 4096

// dockerArchiveImage is an entry of manifest.json.
type dockerArchiveImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// dockerArchiveSource reads an image of a tar that `docker save` wrote. Such images have no manifest, so one is
// made, of Docker's schema 2: always the same for the same image. Its layers are those of the
// archive, which are tars without compression as a rule: their digests are then the diff_ids.
type dockerArchiveSource struct {
	ref      Reference
	tar      *tarFiles
	images   []dockerArchiveImage
	manifest Manifest
	blobs    map[digest.Digest]string // names of entries
}

var _ Source = (*dockerArchiveSource)(nil)

func openDockerArchiveSource(ctx context.Context, ref Reference, opts Options) (*dockerArchiveSource, error) {
	t, err := openTar(ctx, ref.path, &opts)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ref, err)
	}
	s := &dockerArchiveSource{ref: ref, tar: t, blobs: map[digest.Digest]string{}}
	if err := s.load(ctx); err != nil {
		t.Close()
		return nil, fmt.Errorf("read %s: %w", ref, err)
	}
	return s, nil
}

func (s *dockerArchiveSource) load(ctx context.Context) error {
	raw, err := readDocument(s.tar, dockerArchiveIndex)
	if err != nil {
		return fmt.Errorf("it is no docker-archive: %w", err)
	}
	if err := json.Unmarshal(raw, &s.images); err != nil {
		return fmt.Errorf("parse %s: %w", dockerArchiveIndex, err)
	}
	image, err := s.find()
	if err != nil {
		return err
	}
	return s.synthesize(ctx, image)
}

// find returns the image that the reference names.
func (s *dockerArchiveSource) find() (dockerArchiveImage, error) {
	if n := s.ref.Index(); n != noIndex {
		if n >= len(s.images) {
			return dockerArchiveImage{}, fmt.Errorf("it has %d images: %w", len(s.images), ErrNotFound)
		}
		return s.images[n], nil
	}
	if s.ref.repo == "" {
		if len(s.images) != 1 {
			return dockerArchiveImage{}, fmt.Errorf("it has %d images, one has to be named: %s", len(s.images), s.names())
		}
		return s.images[0], nil
	}
	for _, image := range s.images {
		for _, tag := range image.RepoTags {
			if normalTag(tag) == s.ref.dockerName() {
				return image, nil
			}
		}
	}
	return dockerArchiveImage{}, fmt.Errorf("it has no image of this name, but %s: %w", s.names(), ErrNotFound)
}

// normalTag returns a name with its registry, for archives have Docker's without.
func normalTag(tag string) string {
	name, err := parseImageName(tag)
	if err != nil {
		return tag
	}
	if name.tag == "" && name.digest == "" {
		name.tag = defaultTag
	}
	return name.String()
}

func (s *dockerArchiveSource) names() string {
	tags, _ := s.Tags(context.Background()) // never fails
	if len(tags) > 20 {
		tags = append(tags[:20], "…")
	}
	if len(tags) == 0 {
		return "none with a name"
	}
	return printable(strings.Join(tags, ", "))
}

// synthesize makes the manifest of an image.
func (s *dockerArchiveSource) synthesize(ctx context.Context, image dockerArchiveImage) error {
	rawConfig, err := readDocument(s.tar, image.Config)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	config, err := manifest.ParseConfig(rawConfig)
	if err != nil {
		return err
	}
	if have, want := len(image.Layers), len(config.RootFS.DiffIDs); have != want {
		return fmt.Errorf("%w: it has %d layers and %d diff_ids", manifest.ErrInvalid, have, want)
	}
	if len(image.Layers) > maxLayers {
		return fmt.Errorf("%w: it has %d layers", ErrLimit, len(image.Layers))
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: manifest.DockerManifest,
		Config: ocispec.Descriptor{
			MediaType: manifest.DockerConfig, Digest: digest.FromBytes(rawConfig), Size: int64(len(rawConfig)),
		},
		Layers: []ocispec.Descriptor{},
	}
	s.blobs[m.Config.Digest] = image.Config
	for i, name := range image.Layers {
		desc, err := s.layer(ctx, name, config.RootFS.DiffIDs[i])
		if err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		m.Layers = append(m.Layers, desc)
		s.blobs[desc.Digest] = name
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	s.manifest, err = NewManifest(raw)
	return err
}

// layer describes a layer of the archive. One that is compressed has to be read to know its digest, unless its
// name is that: newer versions of Docker write an OCI layout too, and name its blobs here.
func (s *dockerArchiveSource) layer(ctx context.Context, name string, diffID digest.Digest) (ocispec.Descriptor, error) {
	resolved, e, err := s.tar.resolve(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: manifest.DockerLayer, Digest: diffID, Size: e.size}
	f, _, err := s.tar.open(resolved)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	head := make([]byte, len(zstdMagic))
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return ocispec.Descriptor{}, err
	}
	switch {
	case !compressed(head[:n]):
		return desc, nil
	case head[0] == gzipMagic[0]:
		desc.MediaType = manifest.DockerLayerGzip
	default:
		desc.MediaType = manifest.DockerLayerZstd
	}
	dir, encoded := path.Split(resolved)
	named := digest.NewDigestFromEncoded(digest.Algorithm(path.Base(dir)), encoded)
	if path.Dir(path.Clean(dir)) == ocispec.ImageBlobsDir && manifest.CheckDigest(named) == nil {
		desc.Digest = named
		return desc, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return ocispec.Descriptor{}, err
	}
	desc.Digest, err = digest.FromReader(readUntil(ctx, f))
	return desc, err
}

// Manifest implements [Source].
func (s *dockerArchiveSource) Manifest(_ context.Context, d digest.Digest) (Manifest, error) {
	if d != "" && d != s.manifest.Digest {
		return Manifest{}, fmt.Errorf("read manifest %s of %s: %w", d, s.ref, ErrNotFound)
	}
	return s.manifest, nil
}

// Head implements [Source].
func (s *dockerArchiveSource) Head(context.Context) (ocispec.Descriptor, bool, error) {
	return s.manifest.Descriptor(), true, nil
}

// Blob implements [Source].
func (s *dockerArchiveSource) Blob(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return s.BlobFrom(ctx, desc, 0)
}

// BlobFrom implements [Source].
func (s *dockerArchiveSource) BlobFrom(_ context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	if err := checkOffset(desc, offset); err != nil {
		return nil, fmt.Errorf("read blob of %s: %w", s.ref, err)
	}
	name, ok := s.blobs[desc.Digest]
	if !ok {
		return nil, fmt.Errorf("read blob %s of %s: %w", desc.Digest, s.ref, ErrNotFound)
	}
	r, err := sizedFrom(s.tar, name, desc.Size, offset)
	if err != nil {
		return nil, fmt.Errorf("read blob %s of %s: %w", desc.Digest, s.ref, err)
	}
	return r, nil
}

// Reject implements [Source]. There is no other place.
func (s *dockerArchiveSource) Reject(digest.Digest) bool { return false }

// Referrers implements [Source]. Such archives have none.
func (s *dockerArchiveSource) Referrers(context.Context, digest.Digest, string) ([]ocispec.Descriptor, error) {
	return nil, nil
}

// Tags implements [Source]. They are the names of all images in the archive, with repository and tag.
func (s *dockerArchiveSource) Tags(context.Context) ([]string, error) {
	var tags []string
	for _, image := range s.images {
		tags = append(tags, image.RepoTags...)
	}
	slices.Sort(tags)
	return slices.Compact(tags), nil
}

// Close implements [Source].
func (s *dockerArchiveSource) Close() error { return s.tar.Close() }
