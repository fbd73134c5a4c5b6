package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
)

// maxDelay is the longest wait before another attempt; a server may ask for up to maxRetryAfter.
const (
	maxDelay      = 30 * time.Second
	maxRetryAfter = 5 * time.Minute
)

// request is what is asked of an endpoint.
type request struct {
	method string
	path   string     // below the repository
	url    *url.URL   // instead of path
	query  url.Values // with path
	header http.Header
	// body, if there is one, opens it for each attempt. Length is its size or -1.
	body   func() (io.Reader, error)
	length int64         // 0: no body
	want   []int         // statuses that are an answer; others are errors
	digest digest.Digest // for events
}

// do sends a request as often as it takes. The caller closes the answer's body, reads of which fail
// when the server sends nothing for too long.
func (e *endpoint) do(ctx context.Context, r request) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		res, err := e.once(ctx, r)
		if e.fallBack(ctx, err) {
			res, err = e.once(ctx, r)
		}
		if err == nil {
			return res, nil
		}
		if attempt > e.retries || !mayPass(ctx, err) || attempt > 1 && e.unreachable(err) {
			return nil, err
		}
		if err := e.wait(ctx, Event{Kind: EventRetry, Digest: r.digest, Attempt: attempt, Err: err}); err != nil {
			return nil, err
		}
	}
}

// unreachable says whether nobody was ever there: a wrong name or port should not keep its user waiting as a
// registry does that is started again.
func (e *endpoint) unreachable(err error) bool {
	var op *net.OpError
	return !e.reached.Load() && errors.As(err, &op) && op.Op == "dial"
}

// once sends a request once.
func (e *endpoint) once(ctx context.Context, r request) (*http.Response, error) {
	idle := e.opts.idleTimeout()
	dog := watch(ctx, idle)
	bodies := &requestBodies{open: r.body, dog: dog, idle: idle}
	res, err := e.send(dog, r, bodies)
	if err == nil {
		e.reached.Store(true)
	}
	if err == nil && !slices.Contains(r.want, res.StatusCode) {
		err = refused(res)
	}
	if err != nil {
		err = dog.err(err)
		dog.stop()
	}
	if !bodies.wait() && err == nil {
		res.Body.Close()
		err = &permanentError{errors.New("the server answered before it had read the request")}
	}
	switch {
	case ctx.Err() != nil && err != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, tokenError(withoutQuery(err))
	}
	dog.timer.Stop()
	res.Body = &watchedBody{ReadCloser: res.Body, dog: dog, idle: idle}
	return res, nil
}

func (e *endpoint) send(dog *watchdog, r request, bodies *requestBodies) (*http.Response, error) {
	u := r.url
	if u == nil {
		u = e.url(r.path, r.query)
	}
	req, err := http.NewRequestWithContext(dog.ctx, r.method, u.String(), nil)
	if err != nil {
		return nil, &permanentError{err}
	}
	if r.header != nil {
		req.Header = r.header.Clone()
	}
	req.Header.Set("Accept-Encoding", "identity")
	if r.body != nil && r.length != 0 {
		req.ContentLength, req.GetBody = r.length, bodies.next
		if req.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	return e.client.Do(req)
}

// wait tells of an attempt that failed, and waits until the next.
func (e *endpoint) wait(ctx context.Context, event Event) error {
	event.Host = e.place.host
	event.Wait = delay(e.opts.retryDelay(), event.Attempt)
	if asked, ok := retryAfter(event.Err, time.Now()); ok {
		if asked > maxRetryAfter {
			return fmt.Errorf("the server asks to wait for %v: %w", asked.Round(time.Second), event.Err)
		}
		event.Wait = max(asked, event.Wait)
	}
	e.opts.event(event)
	timer := time.NewTimer(event.Wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// delay doubles with each attempt, and has chance in it so that clients that failed together do not
// come back together.
func delay(first time.Duration, attempt int) time.Duration {
	d := min(first<<min(attempt-1, 16), maxDelay)
	return d/2 + rand.N(d/2+1)
}

// retryAfter returns for how long a server wants to be left alone (RFC 9110, section 10.2.3).
func retryAfter(err error, now time.Time) (time.Duration, bool) {
	var status *statusError
	if !errors.As(err, &status) {
		return 0, false
	}
	text := status.header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0), true
	}
	return 0, false
}

// withoutQuery takes queries out of the addresses in errors of net/http: those of redirects to
// storage are signed, and so secrets.
func withoutQuery(err error) error {
	var u *url.Error
	if !errors.As(err, &u) {
		return err
	}
	if address, parseErr := url.Parse(u.URL); parseErr == nil {
		return fmt.Errorf("%s %s%s: %w", u.Op, address.Host, address.Path, u.Err)
	}
	return u.Err
}
