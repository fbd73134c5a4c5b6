package transport

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/manifest"
)

// dockerArchiveDestination writes a tar as `docker save` does, for `docker load`: manifest.json,
// configurations as HEX.json and layers without compression as HEX.tar, named by their digests. Layers that
// come compressed are unpacked on the way.
type dockerArchiveDestination struct {
	ref Reference
	tar *tarWriter

	mu     sync.Mutex
	layers map[digest.Digest]digest.Digest // diff_ids of the layers that are there, by digest of the blob
	small  map[digest.Digest][]byte        // what may be a configuration, or a very small layer
	images []dockerArchiveImage
}

var _ Destination = (*dockerArchiveDestination)(nil)

func openDockerArchiveDestination(ref Reference, opts Options) (*dockerArchiveDestination, error) {
	if ref.Index() != noIndex {
		return nil, fmt.Errorf("write %s: the image has to have a name: %w", ref, ErrReference)
	}
	w, err := createTar(ref.path, &opts)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", ref, err)
	}
	return &dockerArchiveDestination{
		ref: ref, tar: w, layers: map[digest.Digest]digest.Digest{}, small: map[digest.Digest][]byte{},
	}, nil
}

// HasBlob implements [Destination].
func (d *dockerArchiveDestination) HasBlob(_ context.Context, desc ocispec.Descriptor) (bool, error) {
	if err := manifest.CheckDescriptor(desc); err != nil {
		return false, fmt.Errorf("look for a blob in %s: %w", d.ref, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, layer := d.layers[desc.Digest]
	_, small := d.small[desc.Digest]
	return layer || small, nil
}

// MountBlob implements [Destination].
func (d *dockerArchiveDestination) MountBlob(context.Context, ocispec.Descriptor, string) (bool, error) {
	return false, nil
}

// PutBlob implements [Destination].
func (d *dockerArchiveDestination) PutBlob(ctx context.Context, desc ocispec.Descriptor, r io.Reader) (ocispec.Descriptor, error) {
	c, err := newContent(desc, r)
	if err == nil {
		err = d.put(ctx, c)
	}
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("write a blob to %s: %w", d.ref, err)
	}
	return c.descriptor(), nil
}

func (d *dockerArchiveDestination) put(ctx context.Context, c *content) error {
	in := bufio.NewReaderSize(c, 64<<10)
	head, err := in.Peek(len(zstdMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var rest io.Reader = in
	if bytes.HasPrefix(head, []byte("{")) {
		// JSON, or a tar whose first name begins so: which of them its manifest knows.
		data, err := io.ReadAll(io.LimitReader(in, manifest.MaxSize+1))
		if err != nil {
			return err
		}
		if len(data) <= manifest.MaxSize {
			if err := c.verify(); err != nil {
				return err
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			d.small[c.digester.Digest()] = data
			return nil
		}
		rest = io.MultiReader(bytes.NewReader(data), in)
	}
	diffID, err := d.putLayer(ctx, head, rest, func() error {
		// Decompression may end before the blob does.
		if _, err := io.Copy(io.Discard, in); err != nil {
			return err
		}
		return c.verify()
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.layers[c.digester.Digest()] = diffID
	return nil
}

// putLayer writes a layer without its compression and returns its diff_id.
func (d *dockerArchiveDestination) putLayer(ctx context.Context, head []byte, r io.Reader, verify func() error) (digest.Digest, error) {
	plain, err := decompress(head, r)
	if err != nil {
		return "", err
	}
	defer plain.Close()
	hash := digest.Canonical.Digester()
	err = d.tar.add(ctx, io.TeeReader(plain, hash.Hash()), func() (string, error) {
		return hash.Digest().Encoded() + ".tar", verify()
	})
	return hash.Digest(), err
}

// PutManifest implements [Destination]. The archive has no manifests, only what they name: an index
// or an artifact cannot be in it.
func (d *dockerArchiveDestination) PutManifest(ctx context.Context, m Manifest, tagged bool) error {
	m, err := verified(m.Raw, m.MediaType, m.Digest)
	if err != nil {
		return fmt.Errorf("write a manifest to %s: %w", d.ref, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.putImage(ctx, m, tagged); err != nil {
		return fmt.Errorf("write manifest %s to %s: %w", m.Digest, d.ref, err)
	}
	return nil
}

func (d *dockerArchiveDestination) putImage(ctx context.Context, m Manifest, tagged bool) error {
	if manifest.IsIndex(m.MediaType) {
		return fmt.Errorf("an index in such an archive: %w", ErrUnsupported)
	}
	parsed, err := manifest.ParseManifest(m.Raw)
	if err != nil {
		return err
	}
	if !manifest.IsConfig(parsed.Config.MediaType) {
		return fmt.Errorf("an artifact in such an archive: %w", ErrUnsupported)
	}
	raw, ok := d.small[parsed.Config.Digest]
	if !ok {
		return fmt.Errorf("configuration %s: %w", parsed.Config.Digest, ErrNotFound)
	}
	config, err := manifest.ParseConfig(raw)
	if err != nil {
		return err
	}
	image := dockerArchiveImage{Config: parsed.Config.Digest.Encoded() + ".json", Layers: []string{}}
	if have, want := len(parsed.Layers), len(config.RootFS.DiffIDs); have != want {
		return fmt.Errorf("%w: it has %d layers and %d diff_ids", manifest.ErrInvalid, have, want)
	}
	for i, layer := range parsed.Layers {
		diffID, err := d.diffID(ctx, layer.Digest)
		if err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		if want := config.RootFS.DiffIDs[i]; diffID != want {
			return fmt.Errorf("layer %d has the diff_id %s, the configuration says %s: %w", i, diffID, want, ErrDigest)
		}
		image.Layers = append(image.Layers, diffID.Encoded()+".tar")
	}
	if err := d.tar.addBytes(image.Config, raw); err != nil {
		return err
	}
	if tagged && d.ref.repo != "" {
		image.RepoTags = []string{d.ref.dockerName()}
	}
	d.images = slices.DeleteFunc(d.images, func(old dockerArchiveImage) bool {
		return old.Config == image.Config && (len(old.RepoTags) == 0 || len(image.RepoTags) > 0)
	})
	d.images = append(d.images, image)
	return nil
}

// diffID returns the diff_id of a layer that was put.
func (d *dockerArchiveDestination) diffID(ctx context.Context, blob digest.Digest) (digest.Digest, error) {
	if diffID, ok := d.layers[blob]; ok {
		return diffID, nil
	}
	data, ok := d.small[blob]
	if !ok {
		return "", fmt.Errorf("blob %s: %w", blob, ErrNotFound)
	}
	diffID, err := d.putLayer(ctx, data[:min(len(data), len(zstdMagic))], bytes.NewReader(data), func() error { return nil })
	if err == nil {
		d.layers[blob] = diffID
	}
	return diffID, err
}

// Commit implements [Destination].
func (d *dockerArchiveDestination) Commit(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	raw, err := json.Marshal(d.images)
	if err == nil && len(d.images) == 0 {
		err = fmt.Errorf("there is no image to write: %w", ErrNotFound)
	}
	if err == nil {
		err = d.tar.addBytes(dockerArchiveIndex, raw)
	}
	if err == nil {
		err = d.tar.commit(ctx)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", d.ref, err)
	}
	return nil
}

// Close implements [Destination].
func (d *dockerArchiveDestination) Close() error { return d.tar.close() }
