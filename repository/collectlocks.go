package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// lock waits for another collection to end, as long as it may.
func (c *collector) lock(ctx context.Context) error {
	for begun := time.Now(); ; {
		ok, err := tryLockByte(c.leases.lock, collectorByte, exclusive)
		if ok {
			return nil
		}
		if err == nil && time.Since(begun) >= c.opts.Wait {
			err = fmt.Errorf("%w: garbage is being collected", ErrInUse)
		}
		if err == nil {
			err = pause(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// exclude takes the lock of the directory exclusively, so that no program of composefs-rs has the
// repository open until release is called.
func (c *collector) exclude(ctx context.Context) (release func() error, err error) {
	lock := c.leases.lock
	if err := lockByte(lock, shieldByte, exclusive); err != nil {
		return nil, err
	}
	drop := func() error {
		return errors.Join(dropFlock(c.dir), unlockByte(lock, wishByte), unlockByte(lock, shieldByte))
	}
	if err := lockByte(lock, wishByte, exclusive); err != nil {
		return nil, errors.Join(err, drop())
	}
	// Transactions of this package see the wish and step aside.
	for begun := time.Now(); ; {
		ok, err := tryFlock(c.dir, exclusive)
		if ok {
			break
		}
		if err == nil {
			err = c.mayWait(time.Since(begun))
		}
		if err == nil {
			err = pause(ctx)
		}
		if err != nil {
			return nil, errors.Join(err, drop())
		}
	}
	if err := unlockByte(lock, shieldByte); err != nil {
		return nil, errors.Join(err, drop())
	}
	return func() error {
		// Who relies on this lock now has the shield.
		return errors.Join(lockByte(lock, shieldByte, exclusive), drop())
	}, nil
}

// How long transactions of this package may take to step aside: they do it at once, unless they wait for
// a slow disk just then. After minWait it is asked whether there are any.
const (
	minWait = time.Second
	maxWait = 30 * time.Second
)

// mayWait returns ErrInUse if the directory's lock was waited for long enough.
func (c *collector) mayWait(waited time.Duration) error {
	if waited < max(c.opts.Wait, minWait) {
		return nil
	}
	leases, err := c.r.Leases()
	if err != nil {
		return err
	}
	if waited < maxWait && slices.ContainsFunc(leases, func(l LeaseInfo) bool { return l.Held }) {
		return nil
	}
	return fmt.Errorf("%w: another program has it open", ErrInUse)
}
