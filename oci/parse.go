package oci

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/manifest"
)

// maxLayers bounds the layers of an image: more than any builder makes.
const maxLayers = 2000

// layerTypes are what media types begin with of tars, Docker's and the OCI's. How a tar is compressed is
// found out by its bytes.
var layerTypes = []string{
	"application/vnd.oci.image.layer.v1.tar",
	"application/vnd.oci.image.layer.nondistributable.v1.tar",
	"application/vnd.docker.image.rootfs.diff.tar",
	"application/vnd.docker.image.rootfs.foreign.diff.tar",
}

// isTar says whether a layer of a media type is a tar, maybe a compressed one.
func isTar(mediaType string) bool {
	for _, t := range layerTypes {
		if rest, ok := strings.CutPrefix(mediaType, t); ok && (rest == "" || rest[0] == '+' || rest[0] == '.') {
			return true
		}
	}
	return false
}

// parseImage reads a manifest, and its layers as far as it tells them without the config.
func parseImage(raw []byte, d digest.Digest) (*Image, error) {
	m, err := manifest.ParseManifest(raw)
	if err != nil {
		return nil, err
	}
	if len(m.Layers) > maxLayers {
		return nil, fmt.Errorf("%w: %d layers, at most %d are possible", ErrCorrupt, len(m.Layers), maxLayers)
	}
	img := &Image{RawManifest: raw, Digest: d, MediaType: m.MediaType, Manifest: m}
	// Attestations of builders have the config of an image, and layers that are no tars.
	img.Artifact = !manifest.IsConfig(m.Config.MediaType) ||
		slices.ContainsFunc(m.Layers, func(d ocispec.Descriptor) bool { return !isTar(d.MediaType) })
	return img, nil
}

// setLayersOf reads the layers of an image of which only the config is known.
func (i *Image) setLayersOf(raw []byte) error {
	config, err := manifest.ParseConfig(raw)
	if err != nil {
		return err
	}
	for _, d := range config.RootFS.DiffIDs {
		i.Layers = append(i.Layers, Layer{ocispec.Descriptor{Digest: d}, d, layerID(d)})
	}
	return nil
}

// setConfig reads the config, and tells the layers by what it says.
func (i *Image) setConfig(raw []byte) error {
	i.RawConfig = raw
	if i.Artifact {
		for _, d := range i.Manifest.Layers {
			i.Layers = append(i.Layers, Layer{d, d.Digest, layerID(d.Digest)})
		}
		return nil
	}
	var err error
	if i.Config, err = manifest.ParseConfig(raw); err != nil {
		return fmt.Errorf("config %s: %w", i.Manifest.Config.Digest, err)
	}
	ids := i.Config.RootFS.DiffIDs
	if len(ids) != len(i.Manifest.Layers) {
		return fmt.Errorf("%w: the manifest has %d layers, and the config %d diff_ids", ErrCorrupt, len(i.Manifest.Layers), len(ids))
	}
	for n, d := range i.Manifest.Layers {
		i.Layers = append(i.Layers, Layer{d, ids[n], layerID(ids[n])})
	}
	return nil
}
