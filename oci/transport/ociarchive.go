package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/manifest"
)

func openOCIArchiveSource(ctx context.Context, ref Reference, opts Options) (*layoutSource, error) {
	files, err := openTar(ctx, ref.path, &opts)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ref, err)
	}
	return newLayoutSource(ref, files)
}

// ociArchiveDestination writes an OCI layout in a tar, which replaces the file that there is.
type ociArchiveDestination struct {
	ref Reference
	tar *tarWriter

	mu      sync.Mutex
	entries layoutEntries
}

var _ Destination = (*ociArchiveDestination)(nil)

func openOCIArchiveDestination(ref Reference, opts Options) (*ociArchiveDestination, error) {
	w, err := createTar(ref.path, &opts)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", ref, err)
	}
	// Readers that unpack the layout may expect its version first, and directories before what is in them.
	if err := w.addBytes(ocispec.ImageLayoutFile, layoutVersion()); err != nil {
		w.close()
		return nil, fmt.Errorf("write %s: %w", ref, err)
	}
	return &ociArchiveDestination{ref: ref, tar: w}, nil
}

// HasBlob implements [Destination].
func (d *ociArchiveDestination) HasBlob(_ context.Context, desc ocispec.Descriptor) (bool, error) {
	if err := manifest.CheckDescriptor(desc); err != nil {
		return false, fmt.Errorf("look for a blob in %s: %w", d.ref, err)
	}
	return d.tar.has(blobPath(desc.Digest)), nil
}

// MountBlob implements [Destination].
func (d *ociArchiveDestination) MountBlob(context.Context, ocispec.Descriptor, string) (bool, error) {
	return false, nil
}

// PutBlob implements [Destination].
func (d *ociArchiveDestination) PutBlob(ctx context.Context, desc ocispec.Descriptor, r io.Reader) (ocispec.Descriptor, error) {
	c, err := newContent(desc, r)
	if err == nil {
		err = d.write(ctx, c)
	}
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("write a blob to %s: %w", d.ref, err)
	}
	return c.descriptor(), nil
}

func (d *ociArchiveDestination) write(ctx context.Context, c *content) error {
	algorithm := c.digester.Digest().Algorithm().String()
	for _, dir := range []string{ocispec.ImageBlobsDir, path.Join(ocispec.ImageBlobsDir, algorithm)} {
		if err := d.tar.addDir(dir); err != nil {
			return err
		}
	}
	return d.tar.add(ctx, c, func() (string, error) {
		return blobPath(c.digester.Digest()), c.verify()
	})
}

// PutManifest implements [Destination].
func (d *ociArchiveDestination) PutManifest(ctx context.Context, m Manifest, tagged bool) error {
	m, named, err := checkPut(d.ref, m, tagged)
	if err != nil {
		return err
	}
	if _, err := d.PutBlob(ctx, m.Descriptor(), bytes.NewReader(m.Raw)); err != nil {
		return err
	}
	if named {
		d.mu.Lock()
		defer d.mu.Unlock()
		name := ""
		if tagged {
			name = d.ref.name
		}
		d.entries.add(m, name)
	}
	return nil
}

// Commit implements [Destination].
func (d *ociArchiveDestination) Commit(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	index := emptyIndex()
	d.entries.mergeInto(&index)
	raw, err := json.Marshal(index)
	if err == nil {
		err = d.tar.addBytes(ocispec.ImageIndexFile, raw)
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
func (d *ociArchiveDestination) Close() error { return d.tar.close() }
