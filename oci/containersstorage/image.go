package containersstorage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/oci/manifest"
)

// Image is an image in the storage. Its methods may be called concurrently.
type Image struct {
	ID    string   // 64 hexadecimal digits
	Names []string // with registry and tag

	stores    []*store
	manifest  []byte
	mediaType string
	config    []byte
	layers    []*Layer
}

// Open finds an image by a name that podman would take: an ID or its beginning, a digest, a name with a
// registry or without; skopeo's [DRIVER@GRAPHROOT+RUNROOT] may stand before it. Manifest and
// configuration are read, and verified against their digests. The image has to be closed.
//
// The error is [ErrNotFound], [ErrAmbiguous], [ErrNoStorage], [ErrConfig], [ErrUnsupported] or [ErrCorrupt], or
// one of the file system; [fs.ErrPermission] says what to do.
func Open(ctx context.Context, name string, opts Options) (*Image, error) {
	driver, root, name, err := splitSpecifier(name)
	if err != nil {
		return nil, err
	}
	if root != "" {
		opts = Options{Root: root, Driver: driver, Additional: opts.Additional}
	}
	where, err := locate(opts)
	if err != nil {
		return nil, err
	}
	stores, err := openStores(where)
	if err != nil {
		return nil, err
	}
	image, err := open(ctx, stores, name)
	if err != nil {
		closeStores(stores)
		return nil, err
	}
	return image, nil
}

// Close releases the storage. Readers of layers that are open stay usable.
func (i *Image) Close() error {
	closeStores(i.stores)
	return nil
}

// Manifest returns the manifest as its bytes, and its media type.
func (i *Image) Manifest() (raw []byte, mediaType string) { return i.manifest, i.mediaType }

// Config returns the configuration as its bytes.
func (i *Image) Config() []byte { return i.config }

// Layers returns the layers, the lowest first.
func (i *Image) Layers() []*Layer { return i.layers }

func open(ctx context.Context, stores []*store, name string) (*Image, error) {
	var records []imageRecord
	for _, s := range stores {
		list, err := s.images(ctx)
		if err != nil {
			return nil, err
		}
		records = append(records, list...)
	}
	record, err := find(records, name)
	if err != nil {
		return nil, err
	}
	i := &Image{ID: record.ID, Names: record.Names, stores: stores}
	if err := i.read(ctx, record, digestIn(name)); err != nil {
		return nil, fmt.Errorf("image %.12s: %w", i.ID, err)
	}
	return i, nil
}

// read reads what belongs to the image, except the content of its layers. The digest is the one that was asked for, or
// empty.
func (i *Image) read(ctx context.Context, record *imageRecord, asked string) error {
	raw, err := i.readManifest(ctx, record, asked)
	if err != nil {
		return err
	}
	m, err := manifest.ParseManifest(raw)
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	i.manifest, i.mediaType = raw, m.MediaType
	if i.config, err = i.document(ctx, record, m.Config.Digest.String()); err != nil {
		return err
	}
	if m.Config.Digest.Algorithm().FromBytes(i.config) != m.Config.Digest {
		return corruptf("the configuration is not the one with the digest %s", m.Config.Digest)
	}
	config, err := manifest.ParseConfig(i.config)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return i.chain(ctx, record, config.RootFS.DiffIDs)
}

// readManifest reads the manifest with a digest, if that is one of several that the image has been pulled by, else the
// one that came last. The digest may be that of an index; the manifest that was chosen in it is the last one.
func (i *Image) readManifest(ctx context.Context, record *imageRecord, asked string) ([]byte, error) {
	keys := []string{"manifest"}
	if key := "manifest-" + asked; record.BigDataDigests[key] != "" {
		keys = []string{key, "manifest"}
	}
	for n, key := range keys {
		raw, err := i.document(ctx, record, key)
		if err != nil {
			return nil, err
		}
		d := digest.FromBytes(raw).String()
		if !record.hasDigest(d) || n < len(keys)-1 && d != asked {
			return nil, corruptf("the %s has the digest %s, which is none of the image's", key, d)
		}
		mediaType, err := manifest.MediaType(raw, "")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if manifest.IsManifest(mediaType) {
			return raw, nil
		}
	}
	return nil, corruptf("it has an index and no manifest")
}

// document reads big data under the lock of the images.
func (i *Image) document(ctx context.Context, record *imageRecord, key string) ([]byte, error) {
	lock, err := record.store.lock(ctx, "images")
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	raw, err := record.store.bigData(record.ID, key, manifest.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, corruptf("there is no %s: %v", key, err)
	}
	return raw, err
}

// chain finds the layers of the image from the uppermost down, and compares them with the diff ids of the
// configuration.
func (i *Image) chain(ctx context.Context, record *imageRecord, diffIDs []digest.Digest) error {
	byID := map[string]layerRecord{}
	for _, s := range i.stores {
		if err := s.layers(ctx, byID); err != nil {
			return err
		}
	}
	for id := record.Layer; id != ""; id = byID[id].Parent {
		r, ok := byID[id]
		switch {
		case !ok:
			return corruptf("there is no layer %q", id)
		case len(i.layers) == maxDepth:
			return corruptf("it has more than %d layers", maxDepth)
		}
		i.layers = append(i.layers, newLayer(r))
	}
	slices.Reverse(i.layers)
	if len(i.layers) != len(diffIDs) {
		return corruptf("it has %d layers, and its configuration says %d", len(i.layers), len(diffIDs))
	}
	for n, l := range i.layers {
		// A layer of which only parts were pulled has no digest of its own in the list.
		if l.DiffID != "" && l.DiffID != diffIDs[n] {
			return corruptf("layer %d has the diff id %s, and the configuration says %s", n, l.DiffID, diffIDs[n])
		}
		l.DiffID = diffIDs[n]
	}
	return nil
}
