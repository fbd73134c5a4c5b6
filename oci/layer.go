package oci

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/repository"
)

// Layer is a layer of an image.
type Layer struct {
	ocispec.Descriptor               // as the manifest has it
	DiffID             digest.Digest // of the tar; of a layer that is no tar the blob digest
	Stream             string        // id of the stream that holds it
}

// checkTar returns nil for the hash of the layer's tar.
func (l *Layer) checkTar(sum []byte) error {
	if got := digest.NewDigestFromBytes(l.DiffID.Algorithm(), sum); got != l.DiffID {
		return fmt.Errorf("%w: its tar has the diff_id %s, and the config says %s", ErrCorrupt, got, l.DiffID)
	}
	return nil
}

// read reads all of a layer in the repository, and returns nil for the right one.
func (l *Layer) read(ctx context.Context, r *repository.Repository) error {
	s, err := r.OpenStream(l.Stream)
	if err != nil {
		return err
	}
	h := l.DiffID.Algorithm().Hash()
	_, err = s.Copy(ctx, h)
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	return l.checkTar(h.Sum(nil))
}
