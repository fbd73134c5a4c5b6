package oci

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/objects"
	"github.com/go-composefs/composefs/oci/compress"
	"github.com/go-composefs/composefs/oci/transport"
	"github.com/go-composefs/composefs/splitstream"
)

// pullLayers brings in the layers of an image that are not here, the largest first, several at a time.
func (p *puller) pullLayers(ctx context.Context, img *Image) error {
	order := slices.Clone(img.Layers)
	slices.SortStableFunc(order, func(a, b Layer) int { return int(min(1, max(-1, b.Size-a.Size))) })
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.opts.Jobs)
	begun := map[string]struct{}{}
	for _, l := range order {
		if _, ok := begun[l.Stream]; ok {
			continue // builders make empty layers more than once
		}
		begun[l.Stream] = struct{}{}
		g.Go(func() error {
			if err := p.pullLayer(ctx, l, img.Artifact); err != nil {
				return fmt.Errorf("layer %s: %w", l.Digest, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// pullLayer brings in one layer.
func (p *puller) pullLayer(ctx context.Context, l Layer, blob bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	_, here := p.layers[l.Stream]
	p.mu.Unlock()
	if here { // it is another image's too
		return nil
	}
	d, err := p.tx.UseStream(l.Stream)
	if err == nil {
		p.present(l, d)
		return nil
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	p.opts.Progress.Begin(l.Digest, l.Size)
	for {
		d, err = p.readLayer(ctx, l, blob)
		// Where several servers have the blob another one may give the right one.
		if err == nil || ctx.Err() != nil || !isWrong(err) || !p.from.Reject(l.Digest) {
			break
		}
	}
	if err != nil {
		p.opts.Progress.End(l.Digest, OutcomeFailed)
		return err
	}
	p.opts.Progress.End(l.Digest, OutcomeMoved)
	p.fetched(l, d, l.Size)
	return nil
}

// present counts a layer that was here already.
func (p *puller) present(l Layer, d fsverity.Digest) {
	p.opts.Progress.End(l.Digest, OutcomePresent)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.layers[l.Stream] = d
	p.stats.LayersPresent++
}

// fetched counts a layer that is here now, for which size bytes were read.
func (p *puller) fetched(l Layer, d fsverity.Digest, size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.layers[l.Stream] = d
	p.stats.Layers++
	p.stats.Fetched += size
}

// hashes are those that digests can have, see [manifest.CheckDigest].
var hashes = map[digest.Algorithm]crypto.Hash{
	digest.SHA256: crypto.SHA256, digest.SHA384: crypto.SHA384, digest.SHA512: crypto.SHA512,
}

// readLayer reads a layer's blob from the source, and puts its stream.
func (p *puller) readLayer(ctx context.Context, l Layer, blob bool) (fsverity.Digest, error) {
	if from, ok := p.from.(SegmentSource); ok && !blob {
		return p.readSegments(ctx, from, l)
	}
	r, err := p.from.Blob(ctx, l.Descriptor)
	if err != nil {
		return fsverity.Digest{}, err
	}
	defer r.Close()
	v := newVerifier(watched{r, p.opts.Progress, l.Digest}, l.Descriptor)
	if blob {
		return p.putBlob(ctx, l, v)
	}
	stream := p.tx.NewStream(splitstream.Layer)
	defer stream.Close()
	found, prober, err := p.readTar(ctx, l, v, stream)
	if err == nil || isContent(err) {
		// A blob that is not what was asked for says more than what is wrong with its content.
		if errBlob := v.finish(); errBlob != nil {
			err = errBlob
		}
	}
	if err != nil {
		return fsverity.Digest{}, err
	}
	if err := l.checkTar(found.DiffID); err != nil {
		return fsverity.Digest{}, err
	}
	if err := p.noteRecipe(ctx, stream, l, prober); err != nil {
		return fsverity.Digest{}, err
	}
	return p.tx.PutStream(ctx, l.Stream, stream)
}

// readTar takes a layer's tar apart, and watches how it was compressed.
func (p *puller) readTar(ctx context.Context, l Layer, blob io.Reader, stream *splitstream.Writer) (*layer.Layer, *compress.Prober, error) {
	prober := compress.NewProber()
	plain, err := layer.Decompress(tapped{blob, prober.Compressed})
	if err != nil {
		return nil, prober, err
	}
	defer plain.Close()
	found, err := layer.Read(ctx, tapped{plain, prober.Plain}, layer.Options{
		Store: &countingStore{Dir: p.tx.Objects(), p: p}, Stream: stream,
		NoTree: true, Plain: true, Hash: hashes[l.DiffID.Algorithm()],
		MaxEntries: p.opts.Limits.MaxEntries, MaxSparse: p.opts.Limits.MaxSparse, MaxSize: p.opts.Limits.tarSize(l.Size),
	})
	return found, prober, err
}

// tapped tells somebody of what is read.
type tapped struct {
	r  io.Reader
	to func(p []byte)
}

func (t tapped) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.to(p[:n])
	return n, err
}

// isWrong says whether an error is that a blob is not what it is said to be.
func isWrong(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, transport.ErrDigest)
}

// isContent says whether an error of reading a layer is about what the blob holds.
func isContent(err error) bool {
	return errors.Is(err, layer.ErrFormat) || errors.Is(err, layer.ErrEntry) || errors.Is(err, layer.ErrCompression)
}

// tarSize bounds the tar of a blob.
func (l *Limits) tarSize(blob int64) int64 {
	const free = 64 << 20
	if blob > (l.LayerSize-free)/l.LayerRatio {
		return l.LayerSize
	}
	return free + blob*l.LayerRatio
}

// putBlob stores a blob that is no tar: all of it is one object, as in composefs-rs.
func (p *puller) putBlob(ctx context.Context, l Layer, v *verifier) (fsverity.Digest, error) {
	stored, err := (&countingStore{Dir: p.tx.Objects(), p: p}).PutReader(ctx, v)
	if err != nil {
		return fsverity.Digest{}, err
	}
	if err := v.finish(); err != nil {
		return fsverity.Digest{}, err
	}
	stream := p.tx.NewStream(splitstream.Blob)
	defer stream.Close()
	stream.Object(stored.Digest, l.Size)
	return p.tx.PutStream(ctx, l.Stream, stream)
}

// countingStore counts what is stored.
type countingStore struct {
	*objects.Dir
	p *puller
}

func (s *countingStore) PutBytes(ctx context.Context, data []byte) (objects.Stored, error) {
	stored, err := s.Dir.PutBytes(ctx, data)
	if err == nil {
		s.p.count(stored, int64(len(data)))
	}
	return stored, err
}

func (s *countingStore) PutReader(ctx context.Context, r io.Reader) (objects.Stored, error) {
	counted := &counter{r: r}
	stored, err := s.Dir.PutReader(ctx, counted)
	if err == nil {
		s.p.count(stored, counted.n)
	}
	return stored, err
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (p *puller) count(stored objects.Stored, size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if stored.Existing {
		p.stats.Present++
		p.stats.PresentBytes += size
		return
	}
	p.stats.Objects++
	p.stats.ObjectBytes += size
}
