package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/manifest"
)

// layoutSource reads an image in an OCI layout: a directory or an archive.
type layoutSource struct {
	ref   Reference
	files files
	index ocispec.Index
}

var _ Source = (*layoutSource)(nil)

func openLayoutSource(ref Reference) (*layoutSource, error) {
	root, err := os.OpenRoot(ref.path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ref, err)
	}
	return newLayoutSource(ref, dirFiles{root})
}

// newLayoutSource takes over from, which it closes on an error too.
func newLayoutSource(ref Reference, from files) (*layoutSource, error) {
	index, err := readLayout(from)
	if err != nil {
		from.Close()
		return nil, fmt.Errorf("read %s: %w", ref, err)
	}
	return &layoutSource{ref: ref, files: from, index: index}, nil
}

// readLayout reads the index of a layout.
func readLayout(from files) (ocispec.Index, error) {
	raw, err := readDocument(from, ocispec.ImageLayoutFile)
	if err != nil {
		return ocispec.Index{}, fmt.Errorf("it is no OCI layout: %w", err)
	}
	var layout ocispec.ImageLayout
	if err := json.Unmarshal(raw, &layout); err != nil {
		return ocispec.Index{}, fmt.Errorf("parse %s: %w", ocispec.ImageLayoutFile, err)
	}
	if major, _, _ := strings.Cut(layout.Version, "."); major != "1" {
		return ocispec.Index{}, fmt.Errorf("layout of version %.40q: %w", layout.Version, ErrUnsupported)
	}
	raw, err = readDocument(from, ocispec.ImageIndexFile)
	if err != nil {
		return ocispec.Index{}, err
	}
	index, err := manifest.ParseIndex(raw)
	if err != nil {
		return ocispec.Index{}, fmt.Errorf("parse %s: %w", ocispec.ImageIndexFile, err)
	}
	return index, nil
}

// blobPath is where a layout has a blob. The digest was checked.
func blobPath(d digest.Digest) string {
	return path.Join(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// find returns the digest of what the reference names, and its media type if that is known.
func (s *layoutSource) find() (digest.Digest, string, error) {
	if s.ref.digest != "" {
		return s.ref.digest, "", nil
	}
	var found []ocispec.Descriptor
	for _, d := range s.index.Manifests {
		if s.ref.name == "" || d.Annotations[ocispec.AnnotationRefName] == s.ref.name {
			found = append(found, d)
		}
	}
	if s.ref.name == "" && len(found) > 1 {
		// Referrers are in the index so that they are found, not because they were the image.
		found = slices.DeleteFunc(found, func(d ocispec.Descriptor) bool {
			m, err := s.read(d.Digest, d.MediaType)
			if err != nil {
				return false
			}
			subject, _ := manifest.Subject(m.Raw) // it was parsed already
			return subject != nil
		})
	}
	found = slices.CompactFunc(found, func(a, b ocispec.Descriptor) bool { return a.Digest == b.Digest })
	switch {
	case len(found) == 1:
		return found[0].Digest, found[0].MediaType, nil
	case s.ref.name == "" && len(found) > 1:
		return "", "", fmt.Errorf("it has %d images, one has to be named: %s", len(found), s.names())
	case len(found) > 1:
		return "", "", fmt.Errorf("%d images have this name", len(found))
	case s.ref.name == "":
		return "", "", fmt.Errorf("it has no image: %w", ErrNotFound)
	}
	return "", "", fmt.Errorf("it has no image of this name, but %s: %w", s.names(), ErrNotFound)
}

// names lists the names of images for an error.
func (s *layoutSource) names() string {
	tags, _ := s.Tags(context.Background()) // never fails
	if len(tags) == 0 {
		return "none with a name"
	}
	if len(tags) > 20 {
		tags = append(tags[:20], "…")
	}
	return printable(strings.Join(tags, ", "))
}

// read reads a manifest and verifies it.
func (s *layoutSource) read(d digest.Digest, mediaType string) (Manifest, error) {
	if err := manifest.CheckDigest(d); err != nil {
		return Manifest{}, err
	}
	raw, err := readDocument(s.files, blobPath(d))
	if err != nil {
		return Manifest{}, err
	}
	return verified(raw, mediaType, d)
}

// Manifest implements [Source].
func (s *layoutSource) Manifest(_ context.Context, d digest.Digest) (Manifest, error) {
	mediaType := ""
	if d == "" {
		var err error
		if d, mediaType, err = s.find(); err != nil {
			return Manifest{}, fmt.Errorf("read %s: %w", s.ref, err)
		}
	}
	m, err := s.read(d, mediaType)
	if err != nil {
		return Manifest{}, fmt.Errorf("read manifest %s of %s: %w", d, s.ref, err)
	}
	return m, nil
}

// Head implements [Source].
func (s *layoutSource) Head(ctx context.Context) (ocispec.Descriptor, bool, error) {
	m, err := s.Manifest(ctx, "")
	if err != nil {
		return ocispec.Descriptor{}, false, err
	}
	return m.Descriptor(), true, nil
}

// Blob implements [Source].
func (s *layoutSource) Blob(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return s.BlobFrom(ctx, desc, 0)
}

// BlobFrom implements [Source].
func (s *layoutSource) BlobFrom(_ context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	err := checkOffset(desc, offset)
	if err != nil {
		return nil, fmt.Errorf("read blob of %s: %w", s.ref, err)
	}
	r, err := sizedFrom(s.files, blobPath(desc.Digest), desc.Size, offset)
	if err != nil {
		return nil, fmt.Errorf("read blob %s of %s: %w", desc.Digest, s.ref, err)
	}
	return r, nil
}

// Reject implements [Source]. There is no other place.
func (s *layoutSource) Reject(digest.Digest) bool { return false }

// Referrers implements [Source]. The specification does not say where a layout keeps them; they are looked for in
// its index, where other programs put them too, and under the tag that registries have for them.
func (s *layoutSource) Referrers(ctx context.Context, subject digest.Digest, artifactType string) ([]ocispec.Descriptor, error) {
	fail := func(err error) ([]ocispec.Descriptor, error) {
		return nil, fmt.Errorf("list referrers of %s in %s: %w", subject, s.ref, err)
	}
	if err := manifest.CheckDigest(subject); err != nil {
		return fail(err)
	}
	var list []ocispec.Descriptor
	for _, d := range s.index.Manifests {
		if err := ctx.Err(); err != nil {
			return fail(err)
		}
		if !manifest.IsManifest(d.MediaType) && !manifest.IsIndex(d.MediaType) {
			continue
		}
		m, err := s.read(d.Digest, d.MediaType)
		if errors.Is(err, ErrNotFound) {
			continue // layouts may be sparse
		}
		if err != nil {
			return fail(err)
		}
		if d.Annotations[ocispec.AnnotationRefName] == referrersTag(subject) {
			if list, err = addReferrers(list, m.Raw, artifactType); err != nil {
				return fail(err)
			}
			continue
		}
		of, err := manifest.Subject(m.Raw)
		if err != nil {
			return fail(err)
		}
		if of == nil || of.Digest != subject {
			continue
		}
		desc, err := manifest.Referrer(m.Raw)
		if err != nil {
			return fail(err)
		}
		desc.Digest = d.Digest
		if artifactType == "" || desc.ArtifactType == artifactType {
			list = append(list, desc)
		}
	}
	slices.SortStableFunc(list, func(a, b ocispec.Descriptor) int {
		return strings.Compare(a.Digest.String(), b.Digest.String())
	})
	return slices.CompactFunc(list, func(a, b ocispec.Descriptor) bool { return a.Digest == b.Digest }), nil
}

// Tags implements [Source].
func (s *layoutSource) Tags(context.Context) ([]string, error) {
	var tags []string
	for _, d := range s.index.Manifests {
		if name := d.Annotations[ocispec.AnnotationRefName]; name != "" {
			tags = append(tags, name)
		}
	}
	slices.Sort(tags)
	return slices.Compact(tags), nil
}

// Close implements [Source].
func (s *layoutSource) Close() error { return s.files.Close() }
