package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/repository"
)

const importLong = `import puts a tree into a repository, under any number of names, and prints the image's digest. SOURCE is

  a directory       as build reads it
  a tar             also one compressed with gzip or zstd; "-" is standard input
  an image file     its objects come from the directories that --store names, unless the repository
                    has them; each is compared with its digest before it is taken

An image that has one of the names loses it. Everything is on disk before the names appear, and
while it runs others may import, collect garbage, and read. What an import that ends early has
stored stays until "composefs gc".

With --keep-tar the tar itself can be had back, bit for bit: "composefs cat-stream refs/NAME" prints it
without compression. Its files are stored once, for the image and for the tar.

What is in the repository already is not stored again; with --cache it is not even read, if the file
is the same one and has not changed (device, inode number, size, mtime, ctime) since it was.`

const importExample = `  composefs import rootfs debian:12
  composefs import --exclude /var/cache/ / host/today

  podman export $container | composefs import - app:1
  composefs import --keep-tar rootfs.tar.zst debian:12

  # An image and the store it was made with.
  composefs import --store /srv/store doc.cfs doc`

// importCommand is one command line of import.
type importCommand struct {
	source string
	names  []string

	requireVerity bool
	hardlink      bool
	cache         bool
	keepTar       bool
	json          bool
	scan          scanOptions
}

// importJSON is the output of `import --json`.
type importJSON struct {
	Digest     fsverity.Digest `json:"digest"`
	Names      []string        `json:"names"`
	Format     string          `json:"format"`
	Size       int64           `json:"size"`
	Protection protection      `json:"protection"`
	contentsJSON
}

func (a *app) importCommand() *cobra.Command {
	var c importCommand
	cmd := &cobra.Command{
		Use:     "import SOURCE [NAME...]",
		Short:   "put a tree into a repository",
		Long:    importLong,
		Example: importExample,
		Args:    arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.source, c.names = args[0], args[1:]
			if err := c.check(); err != nil {
				return err
			}
			return a.runImport(cmd, &c)
		},
	}
	flags := cmd.Flags()
	storesFlag(flags)
	c.scan.flags(cmd)
	flags.BoolVar(&c.requireVerity, "require-verity", false, "refuse a repository whose objects need not have fs-verity")
	flags.BoolVar(&c.hardlink, "hardlink", false, "make objects of the files themselves, by hard links, where both are on one filesystem: nobody may write to the files any more")
	flags.BoolVar(&c.cache, "cache", false, "do not read files that have not changed since an import with this option")
	flags.BoolVar(&c.keepTar, "keep-tar", false, "keep the tar as a stream of the same names")
	jsonFlag(flags, &c.json)
	return cmd
}

func (c *importCommand) check() error {
	for _, name := range c.names {
		if err := repository.CheckRef(name); err != nil {
			return usageError{err}
		}
	}
	return c.scan.check()
}

// runImport imports, and again if a program of another implementation collected meanwhile.
func (a *app) runImport(cmd *cobra.Command, c *importCommand) error {
	r, err := a.openRepository(cmd, repository.Options{RequireVerity: c.requireVerity})
	if err != nil {
		return err
	}
	defer r.Close()
	if err := checkNames(cmd.Context(), r, c.names); err != nil {
		return err
	}
	source, err := a.openSource(cmd, c)
	if err != nil {
		return err
	}
	defer source.Close()
	const attempts = 3
	var done importJSON
	for range attempts {
		if done, err = a.importOnce(cmd.Context(), r, c, source); !errors.Is(err, repository.ErrCollected) {
			break
		}
		a.remark("note: another program collected garbage meanwhile: it begins again")
	}
	if err != nil {
		return err
	}
	return a.printImport(c, done)
}

// importOnce is one attempt, a transaction.
func (a *app) importOnce(ctx context.Context, r *repository.Repository, c *importCommand, source importSource) (importJSON, error) {
	tx, err := r.Begin(ctx, repository.TransactionOptions{Owner: "composefs import " + c.source, Link: c.hardlink})
	if err != nil {
		return importJSON{}, err
	}
	defer tx.Abort()
	sink := newCountingSink(tx.Objects())
	meter := a.startMeter("import")
	found, err := source.put(ctx, importTarget{tx, r, sink, meter})
	meter.Done()
	if err != nil {
		return importJSON{}, err
	}
	for _, name := range c.names {
		if err := tx.TagImage(name, found.digest); err != nil {
			return importJSON{}, err
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return importJSON{}, err
	}
	if found.cache != nil {
		if err := found.cache.Save(ctx); err != nil {
			a.remark("note: %v", err) // the next import takes longer
		}
	}
	return describeImport(r, c, found, sink)
}

func describeImport(r *repository.Repository, c *importCommand, found imported, sink *countingSink) (importJSON, error) {
	info, err := r.StatObject(found.digest)
	if err != nil {
		return importJSON{}, err
	}
	done := importJSON{
		Digest: found.digest, Names: append([]string{}, c.names...), Format: found.format.String(), Size: info.Size(),
		contentsJSON: countContents(found.root, sink),
	}
	img, err := r.OpenImage(found.digest.String())
	if err != nil {
		return importJSON{}, err
	}
	defer img.Close()
	done.Protection, err = newProtector(r).of(img, img.Objects)
	return done, err
}

func (a *app) printImport(c *importCommand, done importJSON) error {
	if c.json {
		return a.printJSON(done)
	}
	a.remark("%s; protection: %s", done.text(done.Size), done.Protection)
	if len(c.names) == 0 {
		a.remark("note: it has no name, so that the next `composefs gc` removes it: `composefs tag %.12s NAME` gives it one", done.Digest)
	}
	return a.result(func(w *bufio.Writer) error {
		_, err := fmt.Fprintln(w, done.Digest)
		return err
	})
}
