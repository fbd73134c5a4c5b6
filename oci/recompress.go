package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/compress"
	"github.com/go-composefs/composefs/oci/transport"
	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/splitstream"
)

// Compression is how layers are compressed where they go.
type Compression string

// The compressions.
const (
	CompressionOriginal    Compression = "original"
	CompressionNone        Compression = "none"
	CompressionGzip        Compression = "gzip"
	CompressionZstd        Compression = "zstd"
	CompressionZstdChunked Compression = "zstd:chunked" // in pieces that can be fetched one by one
)

// Set makes a Compression an option of a command line.
func (c *Compression) Set(s string) error {
	switch Compression(s) {
	case CompressionOriginal, CompressionNone, CompressionGzip, CompressionZstd, CompressionZstdChunked:
		*c = Compression(s)
		return nil
	}
	return fmt.Errorf("unknown compression %q: want original, none, gzip, zstd or zstd:chunked", s)
}

// String returns the compression's name.
func (c *Compression) String() string { return string(*c) }

// Type names the kind of value for usage messages.
func (*Compression) Type() string { return "WORD" }

// chunkedAnnotation marks blobs of zstd:chunked.
const chunkedAnnotation = "io.github.containers.zstd-chunked.manifest-checksum"

// isCompressionAnnotation says whether an annotation of a layer is about how it is compressed.
func isCompressionAnnotation(key string) bool {
	return strings.HasPrefix(key, "io.github.containers.zstd-chunked.") || strings.HasPrefix(key, "containerd.io/snapshot/stargz/")
}

// compressionOf returns how a layer is compressed in the registry it comes from.
func compressionOf(d ocispec.Descriptor) Compression {
	switch {
	case d.Annotations[chunkedAnnotation] != "":
		return CompressionZstdChunked
	case strings.HasSuffix(d.MediaType, "+zstd"), strings.HasSuffix(d.MediaType, ".zstd"):
		return CompressionZstd
	case strings.HasSuffix(d.MediaType, "gzip"):
		return CompressionGzip
	}
	return CompressionNone
}

// keeps says whether the original blob of a layer is what is wanted.
func (c Compression) keeps(l Layer) bool {
	return c == "" || c == CompressionOriginal || !isTar(l.MediaType) || compressionOf(l.Descriptor) == c
}

// mediaType returns the media type of a tar in another compression: Docker's stay Docker's.
func (c Compression) mediaType(old string) string {
	docker := strings.HasPrefix(old, "application/vnd.docker.")
	switch {
	case c == CompressionGzip && docker:
		return "application/vnd.docker.image.rootfs.diff.tar.gzip"
	case (c == CompressionZstd || c == CompressionZstdChunked) && docker:
		return "application/vnd.docker.image.rootfs.diff.tar.zstd"
	case docker:
		return "application/vnd.docker.image.rootfs.diff.tar"
	case c == CompressionGzip:
		return ocispec.MediaTypeImageLayerGzip
	case c == CompressionZstd, c == CompressionZstdChunked:
		return ocispec.MediaTypeImageLayerZstd
	}
	return ocispec.MediaTypeImageLayer
}

// recipePrefix is what named refs of a layer's stream begin with that tell how a blob of it was compressed; the
// blob digest follows.
const recipePrefix = "composefs.recipe:"

// maxRecipe bounds a recipe, in bytes.
const maxRecipe = 64 << 10

// recipe returns how the original blob of a layer can be made again, if that is known.
func recipe(r *repository.Repository, s *repository.Stream, l Layer) (compress.Recipe, bool, error) {
	var found compress.Recipe
	d, ok := s.Named(recipePrefix + l.Digest.String())
	if !ok {
		return found, false, nil
	}
	f, err := r.OpenObject(d)
	if err != nil {
		return found, false, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxRecipe))
	if err != nil {
		return found, false, err
	}
	if json.Unmarshal(raw, &found) != nil {
		return found, false, nil // of a later version
	}
	return found, true, nil
}

// noteRecipe adds to a layer's stream how its blob was compressed, if the prober has found out.
func (p *puller) noteRecipe(ctx context.Context, w *splitstream.Writer, l Layer, prober *compress.Prober) error {
	found, ok := prober.Recipe()
	if !ok {
		return nil
	}
	raw, err := json.Marshal(found)
	if err != nil {
		return err
	}
	stored, err := p.tx.Objects().PutBytes(ctx, raw)
	if err != nil {
		return err
	}
	w.NamedRef(recipePrefix+l.Digest.String(), stored.Digest)
	return nil
}

// write writes the blob of a layer, the original one if that is wanted and can be made.
func (p *pusher) write(ctx context.Context, l Layer) (ocispec.Descriptor, error) {
	s, err := p.r.OpenStream(l.Stream)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer s.Close()
	copyTar := func(w io.Writer) error {
		_, err := s.Copy(ctx, w)
		return err
	}
	if p.opts.Compression.keeps(l) {
		desc, err := p.writeOriginal(ctx, s, l, copyTar)
		if err == nil || !errors.Is(err, errNoRecipe) {
			return desc, err
		}
	}
	copyTar = checkedTar(l, copyTar)
	kind := p.opts.Compression
	if kind == "" || kind == CompressionOriginal {
		kind = compressionOf(l.Descriptor)
	}
	return p.writeAnew(ctx, l, kind, copyTar)
}

// checkedTar copies a layer's tar, and fails if it is another one than the config says. An original blob is held
// against its digest where it goes; of one that is compressed anew nobody knows that.
func checkedTar(l Layer, copyTar func(io.Writer) error) func(io.Writer) error {
	return func(w io.Writer) error {
		h := l.DiffID.Algorithm().Hash()
		if err := copyTar(io.MultiWriter(w, h)); err != nil {
			return err
		}
		return l.checkTar(h.Sum(nil))
	}
}

// errNoRecipe reports an original blob that cannot be made again.
var errNoRecipe = errors.New("nobody knows how it was compressed")

func (p *pusher) writeOriginal(ctx context.Context, s *repository.Stream, l Layer, copyTar func(io.Writer) error) (ocispec.Descriptor, error) {
	produce := copyTar
	if isTar(l.MediaType) && compressionOf(l.Descriptor) != CompressionNone {
		how, ok, err := recipe(p.r, s, l)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		if !ok {
			return ocispec.Descriptor{}, errNoRecipe
		}
		produce = func(w io.Writer) error { return through(w, how.NewWriter, copyTar) }
	}
	r := p.newProduced(l, produce)
	defer r.Close()
	desc, err := p.to.PutBlob(ctx, l.Descriptor, r)
	if errors.Is(err, transport.ErrDigest) || errors.Is(err, compress.ErrUnknown) {
		// The beginning was the same, or another version of the compressor made it.
		err = fmt.Errorf("%w: %w", errNoRecipe, err)
	}
	desc.MediaType, desc.Annotations = l.MediaType, l.Annotations
	return desc, err
}

// writeAnew writes a blob of a layer in a compression.
func (p *pusher) writeAnew(ctx context.Context, l Layer, kind Compression, copyTar func(io.Writer) error) (ocispec.Descriptor, error) {
	var annotations map[string]string
	produce := func(w io.Writer) error {
		switch kind {
		case CompressionNone:
			return copyTar(w)
		case CompressionGzip:
			return through(w, func(w io.Writer) (io.WriteCloser, error) { return compress.NewGzip(w, p.level(gzipLevel), 0) }, copyTar)
		case CompressionZstdChunked:
			c, err := compress.NewZstdChunked(w, compress.ChunkedOptions{Level: p.opts.Level})
			if err != nil {
				return err
			}
			if err := errors.Join(copyTar(c), c.Close()); err != nil {
				return err
			}
			annotations = c.Annotations()
			return nil
		default:
			return through(w, func(w io.Writer) (io.WriteCloser, error) { return compress.NewZstd(w, p.level(zstdLevel), 0) }, copyTar)
		}
	}
	r := p.newProduced(l, produce)
	defer r.Close()
	desc, err := p.to.PutBlob(ctx, ocispec.Descriptor{MediaType: kind.mediaType(l.MediaType), Size: transport.UnknownSize}, r)
	if kind == CompressionZstdChunked && errors.Is(err, compress.ErrTar) {
		// Not every tar can be in pieces.
		return p.writeAnew(ctx, l, CompressionZstd, copyTar)
	}
	desc.MediaType, desc.Annotations = kind.mediaType(l.MediaType), annotations
	return desc, err
}

// through writes what a function writes through a compressor.
func through(w io.Writer, compressor func(io.Writer) (io.WriteCloser, error), produce func(io.Writer) error) error {
	c, err := compressor(w)
	if err != nil {
		return err
	}
	return errors.Join(produce(c), c.Close())
}

// Levels of compressors unless they are said: gzip's and zstd's own.
const (
	gzipLevel = 6
	zstdLevel = 3
)

func (p *pusher) level(usual int) int {
	if p.opts.Level == 0 {
		return usual
	}
	return p.opts.Level
}
