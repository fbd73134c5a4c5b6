package transport

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/manifest"
)

// layoutDestination writes an image to a directory with an OCI layout, which may have others. Several
// may write to one at the same time, in one process or more.
type layoutDestination struct {
	ref  Reference
	root *os.Root

	mu      sync.Mutex
	entries layoutEntries
	dirs    map[string]bool // of blobs: those that exist and have to be synced
}

var _ Destination = (*layoutDestination)(nil)

func openLayoutDestination(ref Reference) (*layoutDestination, error) {
	if err := os.MkdirAll(ref.path, 0o755); err != nil {
		return nil, fmt.Errorf("write %s: %w", ref, err)
	}
	root, err := os.OpenRoot(ref.path)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", ref, err)
	}
	return &layoutDestination{ref: ref, root: root, dirs: map[string]bool{}}, nil
}

// HasBlob implements [Destination]. Blobs get their names when they are complete, so that the size is enough to
// know them by.
func (d *layoutDestination) HasBlob(_ context.Context, desc ocispec.Descriptor) (bool, error) {
	if err := manifest.CheckDescriptor(desc); err != nil {
		return false, fmt.Errorf("look for a blob in %s: %w", d.ref, err)
	}
	info, err := d.root.Stat(blobPath(desc.Digest))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for blob %s in %s: %w", desc.Digest, d.ref, err)
	}
	return info.Mode().IsRegular() && (desc.Size <= 0 || info.Size() == desc.Size), nil
}

// MountBlob implements [Destination].
func (d *layoutDestination) MountBlob(context.Context, ocispec.Descriptor, string) (bool, error) {
	return false, nil
}

// PutBlob implements [Destination].
func (d *layoutDestination) PutBlob(ctx context.Context, desc ocispec.Descriptor, r io.Reader) (ocispec.Descriptor, error) {
	c, err := newContent(desc, r)
	if err == nil {
		err = d.write(ctx, c)
	}
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("write a blob to %s: %w", d.ref, err)
	}
	return c.descriptor(), nil
}

// write stores content under its digest, durably but for the name, which Commit syncs.
func (d *layoutDestination) write(ctx context.Context, c *content) error {
	dir := path.Join(ocispec.ImageBlobsDir, c.digester.Digest().Algorithm().String())
	if err := d.makeDir(dir); err != nil {
		return err
	}
	temp := path.Join(dir, "."+rand.Text()[:12]+".tmp")
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, readUntil(ctx, c))
	if err == nil {
		err = c.verify()
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = d.root.Rename(temp, blobPath(c.digester.Digest()))
	}
	if err != nil {
		_ = d.root.Remove(temp) // the first error says more
	}
	return err
}

func (d *layoutDestination) makeDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dirs[dir] {
		return nil
	}
	if err := d.root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	d.dirs[dir] = true
	return nil
}

// PutManifest implements [Destination].
func (d *layoutDestination) PutManifest(ctx context.Context, m Manifest, tagged bool) error {
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

// checkPut verifies a manifest that goes to a file. The bool says whether the file's index has to
// have it: one with a tag, and a referrer, to which nothing else would lead.
func checkPut(ref Reference, m Manifest, tagged bool) (Manifest, bool, error) {
	m, err := verified(m.Raw, m.MediaType, m.Digest)
	if err != nil {
		return m, false, fmt.Errorf("write a manifest to %s: %w", ref, err)
	}
	if tagged && ref.digest != "" && ref.digest != m.Digest {
		return m, false, fmt.Errorf("write manifest %s to %s: %w", m.Digest, ref, ErrDigest)
	}
	subject, err := manifest.Subject(m.Raw)
	if err != nil {
		return m, false, fmt.Errorf("write manifest %s to %s: %w", m.Digest, ref, err)
	}
	return m, tagged || subject != nil, nil
}

// Commit implements [Destination]. Whoever else writes the index meanwhile is waited for.
func (d *layoutDestination) Commit(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	unlock, err := lockDir(ctx, d.root)
	if err != nil {
		return fmt.Errorf("lock %s: %w", d.ref.path, err)
	}
	defer unlock()
	if err := d.commit(); err != nil {
		return fmt.Errorf("write %s: %w", d.ref, err)
	}
	d.entries = nil
	return nil
}

func (d *layoutDestination) commit() error {
	for dir := range d.dirs {
		if err := syncIn(d.root, dir); err != nil {
			return err
		}
	}
	if err := syncIn(d.root, ocispec.ImageBlobsDir); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	index := emptyIndex()
	_, err := d.root.Stat(ocispec.ImageLayoutFile)
	switch {
	case err == nil:
		if index, err = readLayout(dirFiles{d.root}); err != nil {
			return err
		}
	case !errors.Is(err, ErrNotFound):
		return err
	}
	d.entries.mergeInto(&index)
	raw, err := json.Marshal(index)
	if err != nil {
		return err
	}
	if len(raw) > manifest.MaxSize {
		return fmt.Errorf("%w: its index would have more than %d bytes", ErrLimit, manifest.MaxSize)
	}
	if err := replaceIn(d.root, ocispec.ImageIndexFile, raw); err != nil {
		return err
	}
	if err := replaceIn(d.root, ocispec.ImageLayoutFile, layoutVersion()); err != nil {
		return err
	}
	return syncIn(d.root, ".")
}

// layoutVersion is the content of the file that makes a directory a layout.
func layoutVersion() []byte {
	return []byte(`{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`)
}

// replaceIn gives a file new content at once.
func replaceIn(root *os.Root, name string, data []byte) error {
	temp := "." + rand.Text()[:12] + ".tmp"
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		_ = root.Remove(temp) // the first error says more
	}
	return err
}

func syncIn(root *os.Root, dir string) error {
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Close implements [Destination].
func (d *layoutDestination) Close() error { return d.root.Close() }

// readUntil ends reads with a context.
func readUntil(ctx context.Context, r io.Reader) io.Reader { return &contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
