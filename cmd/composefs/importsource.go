package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/progress"
	"github.com/go-composefs/composefs/mount"
	"github.com/go-composefs/composefs/objects"
	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/tree"
)

// importSource is what is imported. It is put once for each attempt.
type importSource interface {
	put(ctx context.Context, to importTarget) (imported, error)
	Close() error
}

// importTarget is where it goes.
type importTarget struct {
	*repository.Transaction
	repo  *repository.Repository
	sink  *countingSink // of the transaction
	meter *progress.Meter
}

// imported is what came of a source: an image of the transaction.
type imported struct {
	digest fsverity.Digest
	format erofs.Format
	root   *tree.Inode
	cache  *repository.FileCache // nil if none was used
}

// openSource opens the source. The caller closes it.
func (a *app) openSource(cmd *cobra.Command, c *importCommand) (importSource, error) {
	if c.source == standardInput {
		if isTerminal(a.in) {
			return nil, usagef("standard input is a terminal: want a tar")
		}
		return c.tarSource(cmd, a, a.in)
	}
	f, err := openWaiting(c.source)
	if err != nil {
		return nil, err
	}
	source, err := c.sourceOf(cmd, a, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return source, nil
}

// openWaiting opens a file of any kind but a device. Other than openNow it waits for who writes a FIFO.
func openWaiting(name string) (*os.File, error) {
	if info, err := os.Stat(name); err == nil && info.Mode().Type() == fs.ModeNamedPipe {
		return os.Open(name)
	}
	return openNow(name)
}

func (c *importCommand) tarSource(cmd *cobra.Command, a *app, f *os.File) (importSource, error) {
	for _, name := range append([]string{"cache", "hardlink", "store"}, directoryFlagNames...) {
		if cmd.Flags().Changed(name) {
			return nil, usagef("--%s is not for tars, and %s is one", name, c.sourceName())
		}
	}
	return &tarSource{c: c, app: a, file: f}, nil
}

func (c *importCommand) sourceOf(cmd *cobra.Command, a *app, f *os.File) (importSource, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	storePaths, err := cmd.Flags().GetStringArray("store")
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		if len(storePaths) > 0 {
			return nil, usagef("--store is for image files, and %s is a directory", c.source)
		}
		if c.keepTar {
			return nil, usagef("--keep-tar is for tars, and %s is a directory", c.source)
		}
		return &directorySource{c, f}, nil
	}
	if ok, err := isTar(f, info); err != nil || ok {
		if err != nil {
			return nil, err
		}
		return c.tarSource(cmd, a, f)
	}
	for _, name := range append([]string{"cache", "hardlink", "keep-tar"}, scanFlagNames...) {
		if cmd.Flags().Changed(name) {
			return nil, usagef("--%s is not for images, and %s is taken for one", name, c.source)
		}
	}
	img, err := readImage(f)
	if err != nil {
		return nil, err
	}
	s, err := openStores(storePaths)
	if err != nil {
		return nil, err
	}
	return &imageSource{c, f, img, s}, nil
}

// directorySource is a directory that is scanned.
type directorySource struct {
	c   *importCommand
	dir *os.File
}

func (s *directorySource) Close() error { return s.dir.Close() }

func (s *directorySource) put(ctx context.Context, to importTarget) (imported, error) {
	opts := s.c.scan.ScanOptions
	opts.Sink, opts.SinkLinks, opts.Progress = to.sink, s.c.hardlink, to.meter
	// A repository within the directory is no part of it.
	repo, err := os.Open(to.repo.Path())
	if err != nil {
		return imported{}, err
	}
	defer repo.Close()
	id, err := tree.FileIDOf(repo)
	if err != nil {
		return imported{}, err
	}
	opts.Skip = append(opts.Skip, id)
	meta := to.repo.Meta()
	done := imported{format: meta.Format()}
	if s.c.cache {
		if done.cache, err = to.FileCache(); err != nil {
			return imported{}, err
		}
		opts.Cache = done.cache
	}
	done.root, err = tree.Scan(ctx, s.dir, opts)
	if errors.Is(err, tree.ErrPattern) {
		err = usageError{err}
	}
	if err != nil {
		return imported{}, err
	}
	done.digest, err = to.PutTree(ctx, done.root)
	return done, err
}

// imageSource is an image that exists, and stores with its objects.
type imageSource struct {
	c      *importCommand
	file   *os.File
	img    *erofs.Image
	stores stores
}

func (s *imageSource) Close() error {
	s.stores.close()
	return s.file.Close()
}

func (s *imageSource) put(ctx context.Context, to importTarget) (imported, error) {
	if !s.img.Composefs() {
		return imported{}, fmt.Errorf("%s: %w", s.c.source, mount.ErrNotComposefs)
	}
	needed, err := (&repository.Image{Image: s.img}).Objects()
	if err != nil {
		return imported{}, fmt.Errorf("%s: %w", s.c.source, err)
	}
	g, limited := errgroup.WithContext(ctx)
	g.SetLimit(cmp.Or(s.c.scan.Jobs, runtime.GOMAXPROCS(0)))
	for _, ref := range needed {
		if limited.Err() != nil {
			break
		}
		g.Go(func() error { return s.putObject(limited, to, ref) })
	}
	if err := g.Wait(); err != nil {
		return imported{}, fmt.Errorf("%s: %w", s.c.source, err)
	}
	done := imported{format: s.img.Format()}
	if done.root, err = s.img.Tree(erofs.TreeOptions{MetadataOnly: true}); err != nil {
		return imported{}, fmt.Errorf("%s: %w", s.c.source, err)
	}
	done.digest, err = to.PutImage(ctx, io.NewSectionReader(s.file, 0, s.img.Size()))
	return done, err
}

// putObject takes an object in, unless the repository has it.
func (s *imageSource) putObject(ctx context.Context, to importTarget, ref repository.ObjectRef) error {
	if hash := to.repo.Algorithm().Hash; ref.Digest.Hash() != hash {
		return fmt.Errorf("its objects have %s digests, those of the repository are %s", ref.Digest.Hash(), hash)
	}
	errHas := to.Use(ref.Digest)
	if errHas == nil {
		info, err := to.repo.StatObject(ref.Digest)
		if err != nil || info.Size() == ref.Size {
			return err
		}
	} else if !errors.Is(errHas, repository.ErrNotFound) {
		return errHas
	}
	opened, err := s.stores.Open(ref.Digest.ObjectPath())
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(s.stores) == 0:
		return fmt.Errorf("object %s: %w", ref.Digest, errStoreNeeded)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("object %s: %w", ref.Digest, errNotStored)
	case err != nil:
		return err
	}
	defer opened.Close()
	f, _ := opened.(*os.File) // that of stores
	if info, err := f.Stat(); err != nil {
		return err
	} else if !info.Mode().IsRegular() || info.Size() != ref.Size {
		return fmt.Errorf("object %s: %w: want a file of %d bytes", ref.Digest, objects.ErrCorrupt, ref.Size)
	}
	got, err := to.sink.Put(ctx, f, ref.Size)
	if err == nil && got != ref.Digest {
		err = fmt.Errorf("object %s: %w: its content has %s", ref.Digest, objects.ErrCorrupt, got)
	}
	to.meter.Add(1, ref.Size)
	return err
}
