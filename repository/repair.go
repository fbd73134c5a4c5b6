package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
)

// RepairOptions say how a repository is repaired.
type RepairOptions struct {
	// From are directories with good copies of objects: repositories, directories of objects, or
	// any files. They are searched in this order, after the repository's other stores.
	From []string
}

// Repair mends what a check has found, as far as it can, and notes in each problem what was done:
//
//   - an object that is missing or wrong is replaced by a good copy, at once for all who look; mounts
//     go on, and show the good one to who opens the file from then on;
//   - a good object gets the fs-verity that it lacks; and when all have it, so does meta.json, by which the
//     repository requires it when it is opened again;
//   - a lost entry of an image is made again;
//   - what cannot be mended, and is wrong, is moved to the directory quarantine, unless somebody
//     relies on it just now.
//
// Nothing but the cache of unchanged files is ever removed.
func (r *Repository) Repair(ctx context.Context, found *Checked, opts RepairOptions) error {
	if err := r.repair(ctx, found, opts); err != nil {
		return fmt.Errorf("repair repository %s: %w", r.path, err)
	}
	return nil
}

func (r *Repository) repair(ctx context.Context, found *Checked, opts RepairOptions) error {
	if err := r.writable(); err != nil {
		return err
	}
	sources, err := r.openSources(opts.From, found)
	if err != nil {
		return err
	}
	defer sources.Close()
	if err := r.mend(ctx, found, sources); err != nil {
		return err
	}
	if err := r.mendMeta(found); err != nil {
		return err
	}
	return r.quarantine(ctx, found)
}

// mendMeta makes the repository one that requires fs-verity, if all objects have it now.
func (r *Repository) mendMeta(found *Checked) error {
	var meta *Problem
	for i := range found.Problems {
		switch p := &found.Problems[i]; {
		case p.Kind != ProblemVerity:
		case p.Object.IsZero():
			meta = p
		case p.Mended == "":
			return nil
		}
	}
	if meta == nil {
		return nil
	}
	if err := writeMeta(r.root, &r.meta, true, true); err != nil {
		return err
	}
	meta.Mended = "fs-verity enabled"
	return nil
}

// mend does what can be done in a transaction. Only after its commit it is noted.
func (r *Repository) mend(ctx context.Context, found *Checked, sources *sources) error {
	t, err := r.Begin(ctx, TransactionOptions{Owner: "repair"})
	if err != nil {
		return err
	}
	defer t.Abort()
	opts := r.putOptions()
	opts.Claim, opts.CompareExisting = t.lease.claim, true
	if slices.ContainsFunc(found.Problems, func(p Problem) bool { return p.Kind == ProblemVerity }) {
		opts.Verity = objects.VerityRequire
	}
	own, err := objects.OpenIn(r.root, objectsDir, opts)
	if err != nil {
		return err
	}
	defer own.Close()
	m := mender{r: r, t: t, own: own, sources: sources}
	mended := make([]string, len(found.Problems))
	for i := range found.Problems {
		if mended[i], err = m.mend(ctx, &found.Problems[i]); err != nil {
			return err
		}
	}
	if err := own.Sync(); err != nil {
		return err
	}
	if err := t.Commit(ctx); err != nil {
		return err
	}
	byObject := map[fsverity.Digest]string{}
	for i := range found.Problems {
		p := &found.Problems[i]
		if p.Mended = mended[i]; p.Mended != "" && !p.Object.IsZero() {
			byObject[p.Object] = p.Mended
		}
	}
	// An image or stream was not sound because its bytes were wrong.
	for i := range found.Problems {
		if p := &found.Problems[i]; p.Kind == ProblemImage || p.Kind == ProblemStream {
			p.Mended = byObject[p.Object]
		}
	}
	return nil
}

// mender mends problems in a transaction.
type mender struct {
	r       *Repository
	t       *Transaction
	own     *objects.Dir
	sources *sources
}

// mend mends a problem and says how, or returns "".
func (m *mender) mend(ctx context.Context, p *Problem) (string, error) {
	switch p.Kind {
	case ProblemObject, ProblemMissing:
		if info, err := m.r.objects.Stat(p.Object); err == nil && info.IsDir() {
			return "", nil // it must go first
		}
		return m.sources.restore(ctx, m.own, p)
	case ProblemVerity:
		if p.Object.IsZero() {
			return "", nil // when all objects have it, see mendMeta
		}
		return m.protect(ctx, p.Object)
	case ProblemLink:
		return m.relink(ctx, p)
	case ProblemCache:
		if err := m.r.root.Remove(cacheName); err != nil && !gone(err) {
			return "", err
		}
		return "removed", nil
	case ProblemState:
		if err := m.r.root.Remove(stateName); err != nil && !gone(err) {
			return "", err
		}
		return "removed", nil
	default:
		return "", nil
	}
}

// protect enables fs-verity of an object, of which putting it again is a part.
func (m *mender) protect(ctx context.Context, digest fsverity.Digest) (string, error) {
	f, err := m.r.openRaw(digest)
	if gone(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	_, err = putVerified(ctx, m.own, f, digest)
	if errors.Is(err, objects.ErrCorrupt) {
		return "", nil
	}
	return "fs-verity enabled", err
}

// relink makes the entry of an image again.
func (m *mender) relink(ctx context.Context, p *Problem) (string, error) {
	if p.Object.IsZero() || p.Object.Hash() != m.r.meta.Algorithm.Hash {
		return "", nil
	}
	f, err := m.r.openRaw(p.Object)
	if gone(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := putVerified(ctx, m.own, f, p.Object); err != nil {
		if errors.Is(err, objects.ErrCorrupt) {
			err = nil
		}
		return "", err
	}
	img, err := m.r.openUnverified(p.Object)
	if err != nil {
		return "", nil // an object that is no image stays as it is
	}
	defer img.Close()
	m.t.addImage(p.Object)
	return "link made again", nil
}
