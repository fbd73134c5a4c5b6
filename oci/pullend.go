package oci

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/go-composefs/composefs/repository"
)

// tag gives the image its tags on commit.
func (p *puller) tag(pulled *Pulled) error {
	for _, tag := range p.opts.Tags {
		if err := p.tx.TagStream(tagRef(tag), manifestID(pulled.Image.Digest)); err != nil {
			return err
		}
		if pulled.Index == nil {
			continue
		}
		if err := p.tx.TagStream(indexRef(tag), indexID(pulled.Index.Digest)); err != nil {
			return err
		}
	}
	return nil
}

// tidy removes what the tags had before and do not have now, and leases of pulls that did not end.
func (p *puller) tidy(ctx context.Context, pulled *Pulled) error {
	if pulled.Index == nil {
		for _, tag := range p.opts.Tags {
			if err := removeIndexRef(ctx, p.r, tag); err != nil {
				return err
			}
		}
	}
	leases, err := p.r.Leases()
	if err != nil {
		return err
	}
	for _, l := range leases {
		if l.Owner != p.leaseOwner() || l.Held {
			continue
		}
		if err := p.r.RemoveLease(l.ID); err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, repository.ErrInUse) {
			return err
		}
	}
	return nil
}

// leaseOwner names the lease of a pull of this reference that did not end.
// It is short enough for a lease to keep it whole, by which the next pull knows it.
func (p *puller) leaseOwner() string {
	const most = 100
	name := p.opts.Name
	return "interrupted pull of " + name[max(0, len(name)-most):]
}

// keep commits the layers that are complete after a pull has failed, without any name, and leases them for
// the next attempt. It goes on when the pull was given up.
func (p *puller) keep(ctx context.Context) error {
	p.mu.Lock()
	moved := p.stats.Layers
	digests := slices.Collect(maps.Values(p.layers))
	p.mu.Unlock()
	if moved == 0 {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	lease, err := p.r.NewLease(ctx, p.leaseOwner(), KeepInterrupted)
	if err != nil {
		return err
	}
	if err := lease.Keep(digests...); err != nil {
		return errors.Join(err, lease.Release())
	}
	if err := p.tx.Commit(ctx); err != nil {
		return errors.Join(err, lease.Release())
	}
	return lease.Abandon()
}
