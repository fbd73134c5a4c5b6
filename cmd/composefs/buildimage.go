package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/go-composefs/composefs/dumpfile"
	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/atomicfile"
	"github.com/go-composefs/composefs/mount"
	"github.com/go-composefs/composefs/objects"
	"github.com/go-composefs/composefs/tree"
)

// build makes the image and prints what came of it.
func (a *app) build(ctx context.Context, b *buildCommand) error {
	out, err := openImageOutput(b.image, a.out)
	if b.digestOnly {
		out, err = stream{io.Discard}, nil
	}
	if err != nil {
		return err
	}
	defer out.Abort()

	var root *tree.Inode
	var stored *countingSink
	if b.fromFile {
		root, err = a.readDump(ctx, b.source)
	} else {
		root, stored, err = a.scanDirectory(ctx, b, out)
	}
	if err != nil {
		return err
	}
	result, err := writeImage(ctx, out, root, erofs.WriteOptions{Format: b.format, Algorithm: b.scan.Algorithm})
	if err != nil {
		return fmt.Errorf("%s: %w", b.image, err)
	}
	protected, err := b.protect(out, result.Digest)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := out.Commit(); err != nil {
		return err
	}
	return a.printBuild(b, describeBuild(b, result, protected, root, stored))
}

// protect enables fs-verity on the image before it has a name, and says whether it did.
func (b *buildCommand) protect(out imageOutput, digest fsverity.Digest) (bool, error) {
	if b.verity == mount.VerityOff || b.digestOnly {
		return false, nil
	}
	err := enableVerity(out, b.scan.Algorithm, digest)
	switch {
	case err == nil:
		return true, nil
	case b.verity == mount.VerityRequire || errors.Is(err, fsverity.ErrDigestMismatch):
		return false, err
	}
	return false, nil
}

// enableVerity has the kernel guard what was written, which must have the digest.
func enableVerity(out imageOutput, alg fsverity.Algorithm, digest fsverity.Digest) error {
	f, ok := out.(*atomicfile.File)
	if !ok {
		return fmt.Errorf("standard output: %w", fsverity.ErrNoVerity)
	}
	if err := f.ReadOnly(); err != nil {
		return err
	}
	if err := fsverity.Enable(f.File, fsverity.EnableOptions{Options: fsverity.Options{Algorithm: alg}}); err != nil {
		return err
	}
	got, err := fsverity.Measure(f.File)
	if err == nil && got != digest {
		err = fmt.Errorf("%w: it is %s, %s was written", fsverity.ErrDigestMismatch, got, digest)
	}
	return err
}

// readDump reads the tree from a dump.
func (a *app) readDump(ctx context.Context, source string) (*tree.Inode, error) {
	return orInterrupted(ctx, func() (*tree.Inode, error) {
		in, name := a.in, "standard input"
		if source != "-" {
			name = source
			var err error
			if in, err = os.Open(source); err != nil {
				return nil, err
			}
			defer in.Close()
		}
		root, err := dumpfile.Read(in, dumpfile.ReadOptions{Name: name})
		if err != nil && !errors.Is(err, dumpfile.ErrSyntax) {
			err = fmt.Errorf("read dump %s: %w", name, err)
		}
		return root, err
	})
}

// scanDirectory reads the tree from a directory and stores its files, durably, if there is a
// store.
func (a *app) scanDirectory(ctx context.Context, b *buildCommand, out imageOutput) (*tree.Inode, *countingSink, error) {
	dir, err := openNow(b.source)
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	if info, err := dir.Stat(); err != nil {
		return nil, nil, err
	} else if !info.IsDir() {
		return nil, nil, fmt.Errorf("%s: %w", b.source, errNoDirectory)
	}
	opts := b.scan.ScanOptions
	opts.Skip = imageIDs(out, b.image)
	var sink *countingSink
	if b.store != "" {
		store, err := objects.Open(b.store, objects.Options{
			Algorithm: b.scan.Algorithm, Verity: objectVerity(b.verity), Create: true,
		})
		if err != nil {
			return nil, nil, err
		}
		defer store.Close()
		id, err := tree.FileIDOf(store.File())
		if err != nil {
			return nil, nil, err
		}
		opts.Skip = append(opts.Skip, id)
		sink = newCountingSink(store)
		opts.Sink = sink
	}
	meter := a.startMeter("build")
	opts.Progress = meter
	root, err := tree.Scan(ctx, dir, opts)
	meter.Done()
	if err == nil && sink != nil {
		err = sink.dir.Sync()
	}
	switch {
	case errors.Is(err, tree.ErrPattern):
		return nil, nil, usageError{err}
	case err != nil:
		return nil, nil, err
	}
	return root, sink, nil
}

// imageIDs identifies the files that are the image and so no part of the tree: the one that is
// written, and the one that it will replace.
func imageIDs(out imageOutput, path string) []tree.FileID {
	var ids []tree.FileID
	add := func(f *os.File) {
		if id, err := tree.FileIDOf(f); err == nil {
			ids = append(ids, id)
		}
	}
	if f, ok := out.(*atomicfile.File); ok {
		add(f.File)
	}
	if f, err := openNow(path); err == nil {
		defer f.Close()
		add(f)
	}
	return ids
}

func objectVerity(v mount.Verity) objects.Verity {
	switch v {
	case mount.VerityTry:
		return objects.VerityTry
	case mount.VerityRequire:
		return objects.VerityRequire
	default:
		return objects.VerityOff
	}
}

// describeBuild counts what the image holds.
func describeBuild(b *buildCommand, result erofs.WriteResult, protected bool, root *tree.Inode, stored *countingSink) buildJSON {
	return buildJSON{
		Image: b.image, Digest: result.Digest, Format: result.Format.String(), Size: result.Size, Verity: protected,
		contentsJSON: countContents(root, stored),
	}
}

// printBuild prints the digest as the result, and beside it what else is of interest.
func (a *app) printBuild(b *buildCommand, j buildJSON) error {
	if b.json {
		return a.printJSON(j)
	}
	text := j.text(j.Size)
	if j.Verity {
		text += "; protected by fs-verity"
	}
	a.remark("%s", text)
	// The image may have gone to standard output.
	if b.image == "-" {
		a.remark("digest %s", j.Digest)
		return nil
	}
	return a.result(func(w *bufio.Writer) error {
		_, err := fmt.Fprintln(w, j.Digest)
		return err
	})
}
