package transport

import (
	"context"
	"errors"
	"io"
	"time"
)

var errIdle = errors.New("the server sent nothing for too long")

// watchdog ends a request on which nothing moves.
type watchdog struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// watch returns a watchdog that ends its context unless it is touched within d.
func watch(ctx context.Context, d time.Duration) *watchdog {
	w := &watchdog{}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(d, func() { w.cancel(errIdle) })
	return w
}

// touch gives the request another d.
func (w *watchdog) touch(d time.Duration) { w.timer.Reset(d) }

// err returns why the request ended, if it was because of the watchdog.
func (w *watchdog) err(err error) error {
	if err != nil && errors.Is(context.Cause(w.ctx), errIdle) {
		return errIdle
	}
	return err
}

// stop releases the watchdog; what is still read through its context fails.
func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// watchedBody is the body of an answer under a watchdog.
type watchedBody struct {
	io.ReadCloser
	dog  *watchdog
	idle time.Duration
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.dog.touch(b.idle)
	n, err := b.ReadCloser.Read(p)
	// The reader may take its time until it wants more.
	b.dog.timer.Stop()
	if err == io.EOF {
		return n, err
	}
	return n, b.dog.err(err)
}

func (b *watchedBody) Close() error {
	err := b.ReadCloser.Close()
	b.dog.stop()
	return err
}
