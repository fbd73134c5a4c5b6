package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// progress is how many bytes a connection has to bring to count as one that worked: attempts are counted
// from the last such, so that a large blob over a bad line arrives, and a server that gives one byte
// at a time does not keep its client for ever.
const progress = 64 << 10

// blobReader reads a blob from the first of several endpoints that gives it, and goes on where it was when a
// connection breaks.
type blobReader struct {
	ctx    context.Context
	source *registrySource
	desc   ocispec.Descriptor
	places []*endpoint // those still to be asked; the first is in use

	stop func() // ends the context

	body     io.ReadCloser
	offset   int64 // of the next byte
	begun    int64 // offset at which the connection began
	skip     int64 // bytes before offset that the connection gives first
	whole    bool  // the endpoint cannot give ranges
	attempts int   // without progress
	err      error // sticky
}

// open sends the first request.
func (b *blobReader) open() error {
	for {
		err := b.connect()
		if err == nil {
			return nil
		}
		if !b.whole && b.offset > 0 && errors.Is(err, errRange) {
			b.whole = true
			continue
		}
		if !b.giveUp(err) {
			return err
		}
	}
}

// Read implements [io.Reader].
func (b *blobReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.read(p)
	if err != nil {
		b.err = err
		if err != io.EOF { //nolint:errorlint // a reader's end is io.EOF itself
			b.err = fmt.Errorf("read blob %s of %s at byte %d: %w", b.desc.Digest, b.source.ref, b.offset, err)
		}
	}
	return n, b.err
}

func (b *blobReader) read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if b.body == nil {
			if err := b.open(); err != nil {
				return 0, err
			}
		}
		n, err := b.body.Read(p)
		if b.skip > 0 {
			skipped := min(b.skip, int64(n))
			b.skip -= skipped
			n = copy(p, p[skipped:n])
		}
		b.offset += int64(n)
		switch {
		case b.desc.Size >= 0 && b.offset > b.desc.Size:
			return 0, fmt.Errorf("it has more than the %d bytes of its descriptor: %w", b.desc.Size, ErrDigest)
		case b.offset > MaxBlob:
			return 0, fmt.Errorf("%w: it has more than %d bytes", ErrLimit, int64(MaxBlob))
		case err == nil && n > 0:
			return n, nil
		case err == nil:
			continue
		case b.ctx.Err() != nil:
			return n, context.Cause(b.ctx)
		}
		if errors.Is(err, io.EOF) {
			if b.desc.Size < 0 || b.offset == b.desc.Size {
				return n, io.EOF
			}
			err = io.ErrUnexpectedEOF
		}
		if err := b.broke(err); err != nil {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
	}
}

// broke closes a connection that ended too early and waits, or says why there is no other attempt.
func (b *blobReader) broke(err error) error {
	b.close()
	if b.offset-b.begun >= progress {
		b.attempts = 0
	}
	b.attempts++
	e := b.places[0]
	if b.attempts > e.retries || !mayPass(b.ctx, err) {
		if !b.giveUp(err) {
			return err
		}
		return nil
	}
	return e.wait(b.ctx, Event{
		Kind: EventResume, Digest: b.desc.Digest, Offset: b.offset, Attempt: b.attempts, Err: err,
	})
}

// giveUp goes over to the next endpoint, if there is one.
func (b *blobReader) giveUp(err error) bool {
	if len(b.places) < 2 || b.ctx.Err() != nil {
		return false
	}
	b.source.opts.event(Event{
		Kind: EventMirror, Host: b.places[0].place.host, Digest: b.desc.Digest, Offset: b.offset, Err: err,
	})
	b.places, b.attempts, b.whole = b.places[1:], 0, false
	return true
}

// connect asks the first endpoint for the blob from offset on.
func (b *blobReader) connect() error {
	e := b.places[0]
	if b.desc.Size >= 0 && b.offset == b.desc.Size {
		// There is no range of no bytes. Whoever asks has read everything.
		b.body = http.NoBody
		return nil
	}
	r := request{
		method: http.MethodGet, path: "blobs/" + b.desc.Digest.String(), digest: b.desc.Digest,
		want: []int{http.StatusOK},
	}
	if b.offset > 0 && !b.whole {
		span := fmt.Sprintf("bytes=%d-", b.offset)
		if b.desc.Size >= 0 {
			span += strconv.FormatInt(b.desc.Size-1, 10) // some servers want to be told
		}
		r.header = http.Header{"Range": {span}}
		r.want = append(r.want, http.StatusPartialContent)
	}
	res, err := e.do(b.ctx, r)
	if status, _ := statusOf(err); status == http.StatusRequestedRangeNotSatisfiable {
		err = fmt.Errorf("%w: %w", errRange, err)
	}
	if err != nil {
		return err
	}
	b.body, b.begun, b.skip = res.Body, b.offset, 0
	if err := b.check(e, res); err != nil {
		b.close()
		return err
	}
	b.source.served(b.desc.Digest, e, b.offset)
	return nil
}

// errRange reports a server that gives other parts of blobs than it is asked for.
var errRange = errors.New("the server gave another range")

// check holds an answer against what was asked for, and has skipped what was not.
func (b *blobReader) check(e *endpoint, res *http.Response) error {
	if res.StatusCode == http.StatusPartialContent {
		return b.checkRange(res.Header.Get("Content-Range"))
	}
	if length := res.ContentLength; length >= 0 && b.desc.Size >= 0 && length != b.desc.Size {
		return fmt.Errorf("the server has %d bytes, the descriptor says %d: %w", length, b.desc.Size, ErrDigest)
	}
	if b.offset > 0 {
		b.skip = b.offset
		e.opts.event(Event{Kind: EventRestart, Host: e.place.host, Digest: b.desc.Digest, Offset: b.offset})
	}
	return nil
}

// checkRange refuses another part of the blob than was asked for: it would pass unseen until the end, where
// the digest is wrong and all has to be read again.
func (b *blobReader) checkRange(header string) error {
	fail := func() error {
		return fmt.Errorf("%w: %.100q, asked for bytes from %d on of %d", errRange, header, b.offset, b.desc.Size)
	}
	text, ok := strings.CutPrefix(header, "bytes ")
	span, total, ok2 := strings.Cut(text, "/")
	first, last, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 {
		return fail()
	}
	from, err := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	if err != nil || err2 != nil || from != b.offset || to < from {
		return fail()
	}
	if b.desc.Size < 0 {
		return nil
	}
	if to >= b.desc.Size || total != "*" && total != strconv.FormatInt(b.desc.Size, 10) {
		return fail()
	}
	return nil
}

func (b *blobReader) close() {
	if b.body != nil {
		b.body.Close()
		b.body = nil
	}
}

// Close implements [io.Closer].
func (b *blobReader) Close() error {
	b.close()
	b.stop()
	if b.err == nil {
		b.err = fmt.Errorf("read blob %s: %w", b.desc.Digest, fs.ErrClosed)
	}
	return nil
}
