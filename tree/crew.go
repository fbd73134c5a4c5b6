package tree

import (
	"context"
	"sync"
)

// A crew is a fixed number of goroutines that work off tasks. Tasks may add tasks. The newest
// is taken first, so that a tree is walked nearly depth first and few tasks wait at any time.
//
// W is what each goroutine has to itself: buffers.
type crew[W any] struct {
	mu      sync.Mutex
	wake    sync.Cond
	tasks   []task[W]
	working int
	err     error // the first; ends everything
	cancel  context.CancelFunc
}

type task[W any] func(ctx context.Context, w *W) error

// runCrew works off first and all that follows from it, and returns the first error. A task
// that is running when another fails sees its context end; none runs when runCrew returns.
func runCrew[W any](ctx context.Context, jobs int, first func(c *crew[W]) task[W]) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &crew[W]{cancel: cancel}
	c.wake.L = &c.mu
	c.add(first(c))
	defer context.AfterFunc(ctx, func() { c.fail(ctx.Err()) })()
	var members sync.WaitGroup
	for range jobs {
		members.Go(func() {
			w := new(W)
			for t := c.next(); t != nil; t = c.next() {
				if err := t(ctx, w); err != nil {
					c.fail(err)
				}
				c.done()
			}
		})
	}
	members.Wait()
	return c.err
}

// add lets tasks be done, the last one first.
func (c *crew[W]) add(tasks ...task[W]) {
	if len(tasks) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tasks = append(c.tasks, tasks...)
	if len(tasks) == 1 {
		c.wake.Signal()
	} else {
		c.wake.Broadcast()
	}
}

// next waits for a task. It returns nil when there is none and can be none any more.
func (c *crew[W]) next() task[W] {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && len(c.tasks) == 0 && c.working > 0 {
		c.wake.Wait()
	}
	if c.err != nil || len(c.tasks) == 0 {
		return nil
	}
	last := len(c.tasks) - 1
	t := c.tasks[last]
	c.tasks[last] = nil
	c.tasks = c.tasks[:last]
	c.working++
	return t
}

func (c *crew[W]) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.working--; c.working == 0 {
		c.wake.Broadcast()
	}
}

func (c *crew[W]) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	c.cancel()
	c.wake.Broadcast()
}
