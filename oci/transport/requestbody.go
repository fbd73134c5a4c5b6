package transport

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// requestBodies are the bodies of a request, one for each time that it is sent: a redirect or a
// login sends it again.
type requestBodies struct {
	open func() (io.Reader, error)
	dog  *watchdog
	idle time.Duration

	mu   sync.Mutex
	last *requestBody
}

// next opens another body. The one before must not be in use any more: both may have one reader.
func (b *requestBodies) next() (io.ReadCloser, error) {
	if !b.wait() {
		return nil, &permanentError{errors.New("the content is still being sent")}
	}
	from, err := b.open()
	if err != nil {
		return nil, &permanentError{err}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = &requestBody{from: from, dog: b.dog, idle: b.idle, closed: make(chan struct{})}
	return b.last, nil
}

// bodyGrace is how long a connection that ended may take to let go of its body.
const bodyGrace = 10 * time.Second

// wait waits until nobody reads the last body: net/http may do so after it has returned. It is false
// if that takes too long, because the content's maker blocks.
func (b *requestBodies) wait() bool {
	b.mu.Lock()
	last := b.last
	b.mu.Unlock()
	if last == nil {
		return true
	}
	timer := time.NewTimer(bodyGrace)
	defer timer.Stop()
	select {
	case <-last.closed:
		return true
	case <-timer.C:
		return false
	}
}

// requestBody is the body of a request under its watchdog.
type requestBody struct {
	from   io.Reader
	dog    *watchdog
	idle   time.Duration
	sent   atomic.Bool
	once   sync.Once
	closed chan struct{}
}

// freshBody opens the body of a request again if it was sent already: the library that renews tokens
// sends requests a second time as they are.
func freshBody(req *http.Request) error {
	b, ok := req.Body.(*requestBody)
	if !ok || !b.sent.Swap(true) {
		return nil
	}
	again, err := req.GetBody()
	if err != nil {
		return err
	}
	req.Body = again
	return freshBody(req)
}

// Read implements [io.Reader]. What makes the content may take its time, and the server too once it
// has everything: large blobs are moved and hashed then.
func (u *requestBody) Read(p []byte) (int, error) {
	u.dog.timer.Stop()
	n, err := u.from.Read(p)
	switch {
	case err == nil:
		u.dog.touch(u.idle)
	case errors.Is(err, io.EOF):
		u.dog.touch(10 * u.idle)
	default:
		// Without it the request would be repeated as if the connection were to blame.
		err = &permanentError{err}
	}
	return n, err
}

// Close implements [io.Closer].
func (u *requestBody) Close() error {
	u.once.Do(func() { close(u.closed) })
	return nil
}
