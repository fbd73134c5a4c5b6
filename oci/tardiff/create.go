package tardiff

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
)

// CreateOptions say how a delta is made.
type CreateOptions struct {
	// Level is how hard zstd tries, from 1 to 22; 0 means 19.
	Level int
	// Window is how many bytes of a changed file are compared at once, with twice as many of the old one. Of larger
	// files what has moved further is not found. A job takes three times as much memory, and up to 64 MiB. 0 means
	// 16 MiB.
	Window int
	// Jobs is how many files are compared at once; 0 means GOMAXPROCS. The delta does not depend on it.
	Jobs int
	// MaxFiles bounds the files of the old image and of the new tar, each of which takes some
	// 200 bytes of memory; 0 means 16 million.
	MaxFiles int
}

const (
	defaultLevel    = 19
	defaultWindow   = 16 << 20
	defaultMaxFiles = 16_000_000
	minWindow       = 4 << 10
	maxWindow       = 512 << 20 // places in it are kept in 32 bits
)

func (o CreateOptions) withDefaults() (CreateOptions, error) {
	if o.Level == 0 {
		o.Level = defaultLevel
	}
	if o.Window == 0 {
		o.Window = defaultWindow
	}
	if o.Jobs == 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	if o.MaxFiles == 0 {
		o.MaxFiles = defaultMaxFiles
	}
	switch {
	case o.Level < 1 || o.Level > 22:
		return o, fmt.Errorf("create delta: level %d is not from 1 to 22", o.Level)
	case o.Window < minWindow || o.Window > maxWindow:
		return o, fmt.Errorf("create delta: a window of %d bytes is not from %d to %d", o.Window, minWindow, maxWindow)
	case o.Jobs < 1:
		return o, fmt.Errorf("create delta: %d jobs", o.Jobs)
	}
	return o, nil
}

// Stats tell what a delta consists of.
type Stats struct {
	DiffID    [sha256.Size]byte // SHA-256 of the tar
	TarSize   int64             // bytes
	DeltaSize int64             // bytes, compressed

	// Regular files of the tar that are not empty: those whose content is somewhere in the old image, those that
	// were compared with an old file, and the rest.
	Identical, Changed, New int
	// Bytes of the tar by the operation that makes them.
	Copied, Added, Data int64
}

// Tar opens the new tar, uncompressed. It is called twice, one call after the other, and has to give the same bytes.
type Tar func(ctx context.Context) (io.ReadCloser, error)

// TarOf returns the tar that is in r.
func TarOf(r io.ReaderAt, size int64) Tar {
	return func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(r, 0, size)), nil
	}
}

var errTarChanged = errors.New("the tar was another one when it was read again")

// Create writes a delta to w that makes the new tar of the old image. What cannot be read as a tar to its end
// makes a delta all the same, which has the rest as data.
//
// Files of the old image are read that have the size of a new one, and those that look like earlier versions of one: by
// their path, their path without digits, or their name. Paths that are not UTF-8, not clean, or longer than 4096 bytes
// are not used: other implementations refuse them.
func Create(ctx context.Context, old OldFiles, newTar Tar, w io.Writer, opts CreateOptions) (Stats, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return Stats{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	list, err := scan(ctx, newTar, opts.MaxFiles)
	if err != nil {
		return Stats{}, err
	}
	sources, err := findSources(ctx, old, list, opts)
	if err != nil {
		return Stats{}, err
	}
	out, err := newEmitter(w, opts.Level)
	if err != nil {
		return Stats{}, err
	}
	c := &creator{opts: opts, old: old, list: list, sources: sources, out: out, stats: &out.stats}
	if err := c.run(ctx, newTar); err != nil {
		return Stats{}, errors.Join(err, out.abandon())
	}
	if err := out.finish(); err != nil {
		return Stats{}, err
	}
	out.stats.DiffID, out.stats.TarSize = list.digest, list.size
	return out.stats, nil
}
