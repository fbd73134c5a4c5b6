package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/manifest"
)

// PutBlob implements [Destination].
func (d *registryDestination) PutBlob(ctx context.Context, desc ocispec.Descriptor, r io.Reader) (ocispec.Descriptor, error) {
	content, err := newContent(desc, r)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("write a blob to %s: %w", d.ref, err)
	}
	for attempt := 1; ; attempt++ {
		err := d.upload(ctx, content)
		if err == nil {
			return content.descriptor(), nil
		}
		if attempt <= d.at.retries && mayPass(ctx, err) && content.rewind() {
			if err := d.at.wait(ctx, Event{Kind: EventRetry, Digest: desc.Digest, Attempt: attempt, Err: err}); err != nil {
				return ocispec.Descriptor{}, err
			}
			continue
		}
		name := "a blob"
		if desc.Digest != "" {
			name = "blob " + desc.Digest.String()
		}
		return ocispec.Descriptor{}, fmt.Errorf("write %s to %s: %w", name, d.ref, err)
	}
}

// upload sends a blob in one stream, as Docker does: that is what every registry takes.
func (d *registryDestination) upload(ctx context.Context, c *content) error {
	e := d.at
	res, err := e.do(ctx, request{
		method: http.MethodPost, path: "blobs/uploads/", want: []int{http.StatusAccepted}, digest: c.want.Digest,
	})
	if err != nil {
		return err
	}
	drain(res)
	at, err := e.sameHost(res.Request.URL, res.Header.Get("Location"))
	if err != nil {
		return err
	}
	sent := false
	res, err = e.once(ctx, request{
		method: http.MethodPatch, url: at, want: []int{http.StatusAccepted, http.StatusNoContent, http.StatusCreated},
		header: http.Header{"Content-Type": {"application/octet-stream"}},
		body: func() (io.Reader, error) {
			if sent && !c.rewind() {
				return nil, errors.New("the content cannot be read a second time")
			}
			sent = true
			return c, nil
		},
		length: c.length(),
	})
	if err == nil {
		drain(res)
		err = c.verify()
	}
	if err != nil {
		d.abandon(ctx, at)
		return err
	}
	next, err := e.sameHost(res.Request.URL, res.Header.Get("Location"))
	if err != nil {
		return err
	}
	return d.finish(ctx, next, c.descriptor())
}

// finish gives an upload its digest.
func (d *registryDestination) finish(ctx context.Context, at *url.URL, desc ocispec.Descriptor) error {
	query := at.Query()
	query.Set("digest", desc.Digest.String())
	final := *at
	final.RawQuery = query.Encode()
	res, err := d.at.do(ctx, request{
		method: http.MethodPut, url: &final, digest: desc.Digest,
		header: http.Header{"Content-Type": {"application/octet-stream"}},
		want:   []int{http.StatusCreated, http.StatusNoContent, http.StatusOK},
	})
	if status, _ := statusOf(err); status == http.StatusNotFound || status == http.StatusBadRequest {
		// The answer to an attempt that succeeded may have been lost, and the upload is gone then.
		if has, _ := d.HasBlob(ctx, desc); has {
			return nil
		}
	}
	if err != nil {
		return err
	}
	drain(res)
	if got := digest.Digest(res.Header.Get("Docker-Content-Digest")); got != "" && got.Algorithm() == desc.Digest.Algorithm() && got != desc.Digest {
		return fmt.Errorf("the registry stored it as %s: %w", printable(got.String()), ErrDigest)
	}
	return nil
}

// abandon lets the registry forget an upload, which it does by itself only after days. It may fail.
func (d *registryDestination) abandon(ctx context.Context, at *url.URL) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	res, err := d.at.once(ctx, request{method: http.MethodDelete, url: at, want: []int{http.StatusNoContent, http.StatusOK, http.StatusAccepted}})
	if err == nil {
		drain(res)
	}
}

// content is a blob on its way: it is hashed and counted as it is read.
type content struct {
	want     ocispec.Descriptor
	r        io.Reader
	start    int64 // of a seeker
	digester digest.Digester
	n        int64
}

func newContent(desc ocispec.Descriptor, r io.Reader) (*content, error) {
	algorithm := digest.Canonical
	if desc.Digest != "" {
		if err := manifest.CheckDigest(desc.Digest); err != nil {
			return nil, err
		}
		algorithm = desc.Digest.Algorithm()
	}
	c := &content{want: desc, r: r, start: -1, digester: algorithm.Digester()}
	if s, ok := r.(io.Seeker); ok {
		if at, err := s.Seek(0, io.SeekCurrent); err == nil {
			c.start = at
		}
	}
	return c, nil
}

// Read implements [io.Reader].
func (c *content) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.digester.Hash().Write(p[:n])
	if c.want.Size > 0 && c.n > c.want.Size {
		return n, fmt.Errorf("it has more than the %d bytes of its descriptor: %w", c.want.Size, ErrDigest)
	}
	if errors.Is(err, io.EOF) && c.want.Size > 0 && c.n < c.want.Size {
		return n, fmt.Errorf("it has %d bytes, its descriptor says %d: %w", c.n, c.want.Size, ErrDigest)
	}
	return n, err
}

// length is the size if it is known, else -1.
func (c *content) length() int64 {
	if c.want.Size > 0 {
		return c.want.Size
	}
	return -1
}

// rewind begins again, if the reader can.
func (c *content) rewind() bool {
	switch r := c.r.(type) {
	case Rewinder:
		if r.Rewind() != nil {
			return false
		}
	case io.Seeker:
		if c.start < 0 {
			return false
		}
		if _, err := r.Seek(c.start, io.SeekStart); err != nil {
			return false
		}
	default:
		return false
	}
	c.n = 0
	c.digester = c.digester.Digest().Algorithm().Digester()
	return true
}

// verify holds what was read against what was to be.
func (c *content) verify() error {
	if c.want.Size > 0 && c.n != c.want.Size {
		return fmt.Errorf("it has %d bytes, its descriptor says %d: %w", c.n, c.want.Size, ErrDigest)
	}
	if got := c.digester.Digest(); c.want.Digest != "" && got != c.want.Digest {
		return fmt.Errorf("it has the digest %s: %w", got, ErrDigest)
	}
	return nil
}

// descriptor returns the descriptor of what was read.
func (c *content) descriptor() ocispec.Descriptor {
	d := c.want
	d.Digest, d.Size = c.digester.Digest(), c.n
	return d
}
