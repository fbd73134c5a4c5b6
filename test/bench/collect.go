//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/tree"
)

// The repository that is collected: of a million objects a fifth are garbage. Each image has objects of
// its own, and some that all have.
const (
	collectImages = 100
	collectShared = 10_000
)

// collection measures a collection beside a writer.
func (b *bench) collection() error {
	n := b.size(1_000_000, 20_000)
	path := b.path("collect.repo")
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	if _, err := repository.Create(path, repository.CreateOptions{Insecure: true}); err != nil {
		return err
	}
	shared := min(collectShared, n/10)
	own := (n*4/5 - shared) / collectImages
	live := shared + own*collectImages
	if err := fillImages(path, shared, own); err != nil {
		return err
	}
	var pauses []time.Duration
	work := fmt.Sprintf("gc of %d objects, %d of them garbage, and %d images", n, n-live, collectImages)
	results, err := b.race(work, 3, contestant{
		name:     "ours",
		commands: []command{{argv: b.ours("composefs", "gc", "--repo", path)}},
		beside:   func(ctx context.Context) error { return writeMeanwhile(ctx, path, &pauses) },
		prepare: func() error {
			if err := fillObjects(path, live, n); err != nil {
				return err
			}
			return syncFilesystem(b.dir)
		},
	})
	if err != nil {
		return err
	}
	if err := wantObjects(path, live); err != nil {
		return err
	}
	r := results[0]
	slices.Sort(pauses)
	p99 := pauses[len(pauses)*99/100]
	b.judge(work, "under 60 s", r.median() < time.Minute, "%s", formatDuration(r.median()))
	b.judge(work, "peak memory under 300 MB", r.medianRSS() < 300e6, "%s", formatBytes(r.medianRSS()))
	b.judge(work, "p99 of a writer's pauses under 50 ms", p99 < 50*time.Millisecond,
		"%s, at most %s, of %d objects", formatDuration(p99), formatDuration(pauses[len(pauses)-1]), len(pauses))
	return os.RemoveAll(path)
}

// numbered returns the i-th object's content.
func numbered(i int) []byte { return []byte("object " + strconv.Itoa(i)) }

// fillObjects writes objects straight into their places.
func fillObjects(repo string, from, to int) error {
	var work errgroup.Group
	jobs := numCPU()
	for job := range jobs {
		work.Go(func() error {
			for i := from + job; i < to; i += jobs {
				digest, err := fsverity.Sum(fsverity.SHA256, numbered(i))
				if err != nil {
					return err
				}
				name := filepath.Join(repo, "objects", digest.ObjectPath())
				err = os.WriteFile(name, numbered(i), 0o644)
				if errors.Is(err, os.ErrNotExist) {
					if err = os.MkdirAll(filepath.Dir(name), 0o755); err == nil {
						err = os.WriteFile(name, numbered(i), 0o644)
					}
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return work.Wait()
}

// fillImages makes the images, with their objects.
func fillImages(repo string, shared, own int) error {
	if err := fillObjects(repo, 0, shared+own*collectImages); err != nil {
		return err
	}
	r, err := repository.Open(repo, repository.Options{})
	if err != nil {
		return err
	}
	defer r.Close()
	ctx := context.Background()
	t, err := r.Begin(ctx, repository.TransactionOptions{})
	if err != nil {
		return err
	}
	defer t.Abort()
	for k := range collectImages {
		root := &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 2}
		add := func(i int) error {
			digest, err := fsverity.Sum(fsverity.SHA256, numbered(i))
			if err != nil {
				return err
			}
			return root.Add(tree.Entry{Name: fmt.Sprintf("file%08d", i), Inode: &tree.Inode{
				Mode: tree.TypeRegular | 0o644, Nlink: 1, Size: uint64(len(numbered(i))), Digest: digest,
			}})
		}
		for i := range shared {
			if err := add(i); err != nil {
				return err
			}
		}
		for i := range own {
			if err := add(shared + k*own + i); err != nil {
				return err
			}
		}
		digest, err := t.PutTree(ctx, root)
		if err == nil {
			err = t.TagImage(fmt.Sprint("image", k), digest)
		}
		if err != nil {
			return err
		}
	}
	return t.Commit(ctx)
}

// writeMeanwhile puts small objects, one every millisecond, and notes how long each took.
func writeMeanwhile(ctx context.Context, repo string, took *[]time.Duration) error {
	r, err := repository.Open(repo, repository.Options{})
	if err != nil {
		return err
	}
	defer r.Close()
	t, err := r.Begin(context.Background(), repository.TransactionOptions{Owner: "writer"})
	if err != nil {
		return err
	}
	defer t.Abort()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		start := time.Now()
		if _, err := t.Objects().PutBytes(context.Background(), fmt.Appendf(nil, "written meanwhile %d", i)); err != nil {
			return err
		}
		*took = append(*took, time.Since(start))
	}
}

// wantObjects fails unless what the images need is there, and no more than that and what the writer and
// the images themselves are.
func wantObjects(repo string, live int) error {
	for i := range live {
		digest, err := fsverity.Sum(fsverity.SHA256, numbered(i))
		if err != nil {
			return err
		}
		if _, err := os.Lstat(filepath.Join(repo, "objects", digest.ObjectPath())); err != nil {
			return err
		}
	}
	digest, err := fsverity.Sum(fsverity.SHA256, numbered(live))
	if err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(repo, "objects", digest.ObjectPath())); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("an object that nobody needs is there: %w", err)
	}
	return nil
}
