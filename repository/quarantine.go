package repository

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
)

// quarantine moves out of use what is wrong and was not mended. Like a collection it must know what
// transactions rely on.
func (r *Repository) quarantine(ctx context.Context, found *Checked) (err error) {
	var bad []*Problem
	for i := range found.Problems {
		if p := &found.Problems[i]; p.Mended == "" && !p.Note && movable(p) {
			bad = append(bad, p)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	c, err := r.newCollector(ctx, CollectOptions{})
	if err != nil {
		return err
	}
	defer c.Close()
	release, err := c.exclude(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := r.root.Mkdir(quarantineDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, p := range bad {
		if err := c.putAway(ctx, p); err != nil {
			return fmt.Errorf("put away %s: %w", p.Path, err)
		}
	}
	return errors.Join(r.syncDir(quarantineDir), r.syncDir("."))
}

func movable(p *Problem) bool {
	return p.Kind == ProblemObject || p.Kind == ProblemForeign || p.Kind == ProblemLease || p.malformed
}

// putAway moves a thing into quarantine, if nobody relies on it.
func (c *collector) putAway(ctx context.Context, p *Problem) error {
	if p.Kind != ProblemObject {
		return c.move(p)
	}
	if !strings.HasPrefix(p.Path, objectsDir+"/") {
		return nil // another store's
	}
	at := gateOf(p.Object)
	if err := lockByte(c.leases.lock, at, exclusive); err != nil {
		return err
	}
	err := c.putObjectAway(ctx, p)
	return errors.Join(err, unlockByte(c.leases.lock, at))
}

// putObjectAway is putAway for an object, behind its gate.
func (c *collector) putObjectAway(ctx context.Context, p *Problem) error {
	leases := leaseReader{r: c.r, open: map[string]*openLease{}}
	defer leases.Close()
	leased := false
	err := leases.refresh(func(digest fsverity.Digest) { leased = leased || digest == p.Object })
	if err != nil || leased {
		return err
	}
	// Somebody may have stored it again.
	switch err := c.r.objects.Verify(ctx, p.Object); {
	case err == nil, gone(err):
		return nil
	case ctx.Err() != nil, isShort(err):
		return err
	case errors.Is(fsverity.SignatureError(err), fsverity.ErrSignatureRefused):
		return nil // the kernel lacks the key, and the object is good when it has it
	}
	return c.move(p)
}

// move moves a thing to a name in quarantine that is free.
func (c *collector) move(p *Problem) error {
	name := strings.ReplaceAll(p.Path, "/", "_")
	if p.Kind == ProblemObject {
		name = p.Object.String()
	}
	to := quarantineDir + "/" + name
	for n := 1; ; n++ {
		if _, err := c.r.root.Lstat(to); gone(err) {
			break
		}
		to = quarantineDir + "/" + name + "." + strconv.Itoa(n)
	}
	if err := c.r.step("quarantine " + p.Path); err != nil {
		return err
	}
	if err := c.r.root.Rename(p.Path, to); err != nil {
		if gone(err) {
			return nil
		}
		return err
	}
	p.Quarantined = to
	return c.r.syncDir(path.Dir(p.Path))
}
