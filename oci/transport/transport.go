package transport

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/manifest"
)

// Manifest is a manifest or an index, as its bytes.
type Manifest struct {
	Raw       []byte
	MediaType string        // one that manifest.IsManifest or manifest.IsIndex knows
	Digest    digest.Digest // of Raw
}

// Descriptor returns what names the manifest elsewhere.
func (m Manifest) Descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Raw))}
}

// NewManifest returns raw as a manifest, with its media type and digest.
func NewManifest(raw []byte) (Manifest, error) {
	mediaType, err := manifest.MediaType(raw, "")
	if err != nil {
		return Manifest{}, err
	}
	return Manifest{Raw: raw, MediaType: mediaType, Digest: digest.FromBytes(raw)}, nil
}

// UnknownSize stands in a descriptor for a size that its maker did not know.
const UnknownSize = -1

// Source is where an image comes from. All methods may be called concurrently.
type Source interface {
	// Manifest returns the manifest or index with a digest, or for the empty digest the one that the
	// reference names. Its content is verified against the digest, if there is one in the
	// call, the reference or the server's answer, and has at most [manifest.MaxSize] bytes.
	Manifest(ctx context.Context, d digest.Digest) (Manifest, error)
	// Head returns the descriptor of what the reference names in one round trip, without reading it. It
	// is what the server says, and not verified. The bool is false where the source cannot tell.
	Head(ctx context.Context) (ocispec.Descriptor, bool, error)
	// Blob opens a blob, which the caller closes. Reads that are interrupted go on where they
	// were, by a new request for the rest, after a wait and as often as [Options.Retries] says. The reader
	// gives exactly desc.Size bytes or an error, and at most [MaxBlob] if that is [UnknownSize].
	// The content is not verified: whoever reads it has to hash it, and call Reject if it is wrong.
	// The context is that of the reader too.
	Blob(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error)
	// BlobFrom is Blob without the first offset bytes, which were read at another time.
	BlobFrom(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error)
	// Reject tells the source that the content of a blob, read to the end, was not what its digest says. The
	// result says whether another attempt would be answered by somebody else: where there are
	// mirrors, the one that gave the blob is not asked for it again.
	Reject(d digest.Digest) bool
	// Referrers lists the manifests that have subject as their subject, and artifactType as
	// their artifact type unless that is empty. The list is the server's and not verified, and may have some
	// whose type it does not say.
	Referrers(ctx context.Context, subject digest.Digest, artifactType string) ([]ocispec.Descriptor, error)
	// Tags lists the tags of the reference's repository or file, sorted.
	Tags(ctx context.Context) ([]string, error)
	// Close ends all reads and releases what the source holds.
	Close() error
}

// Destination is where an image goes to. Blobs may be put concurrently, and have to be there before the
// manifests that name them. Nothing is visible under a name before PutManifest, or in files before Commit.
type Destination interface {
	// HasBlob says whether the destination has a blob already.
	HasBlob(ctx context.Context, desc ocispec.Descriptor) (bool, error)
	// MountBlob makes a blob of another repository of the same registry available in this one. It is
	// false where that is not possible, and the blob has to be put.
	MountBlob(ctx context.Context, desc ocispec.Descriptor, fromRepository string) (bool, error)
	// PutBlob stores what r gives to its end, and returns its descriptor. If desc has a digest, or
	// a size that is neither 0 nor [UnknownSize], the content is verified against it and [ErrDigest]
	// reports another. An upload that is interrupted starts again only if r is an [io.Seeker] or a
	// [Rewinder].
	PutBlob(ctx context.Context, desc ocispec.Descriptor, r io.Reader) (ocispec.Descriptor, error)
	// PutManifest stores a manifest or index, under the reference's tag as well if tagged is true. Of a
	// manifest with a subject the destination keeps record, so that Referrers finds it.
	PutManifest(ctx context.Context, m Manifest, tagged bool) error
	// Commit makes visible what was put: files appear or change here, at once and durably.
	// For registries there is nothing left to do.
	Commit(ctx context.Context) error
	// Close releases what the destination holds. Of an archive that was not committed nothing is left; a
	// layout keeps blobs that nothing names, and that the next attempt finds.
	Close() error
}

// Rewinder is a reader that can begin again, and then gives the same bytes.
type Rewinder interface {
	Rewind() error
}

// MaxBlob bounds the bytes of a blob whose size is not known.
const MaxBlob = 1 << 40
