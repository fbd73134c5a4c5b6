package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/linux"
)

const (
	copyChunk = 256 << 10 // bytes
	// holeSize is from how many zeros on, at a multiple of this offset, a hole is made.
	holeSize = 64 << 10
)

var zeros [holeSize]byte

// content fills a new file.
func (x *extractor) content(ctx context.Context, w *extractWorker, fd int, n *Inode) error {
	if !n.IsExternal() {
		if uint64(len(n.Content)) != n.Size {
			return fmt.Errorf("%w: %d bytes of content, size %d", ErrTree, len(n.Content), n.Size)
		}
		return linux.WriteAt(fd, n.Content, 0)
	}
	if x.objects == nil {
		return fmt.Errorf("%w: nothing to read external files from", ErrOptions)
	}
	object, err := x.objects.OpenObject(n)
	if err != nil {
		return err
	}
	defer object.Close()
	verify := !x.opts.NoVerify && !n.Digest.IsZero()
	if f, ok := object.(*os.File); ok {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if uint64(info.Size()) != n.Size {
			return wrongSize(n.Size, uint64(info.Size()))
		}
		switch {
		case x.clone(fd, f):
			return x.verifyWritten(ctx, fd, n, verify)
		case !verify:
			return x.copyRanges(ctx, w, fd, f, int64(n.Size))
		}
	}
	return x.copy(ctx, w, fd, object, n, verify)
}

func wrongSize(want, got uint64) error {
	return fmt.Errorf("%w: the object has %d bytes instead of %d", ErrDigestMismatch, got, want)
}

func wrongDigest(want, got fsverity.Digest) error {
	return fmt.Errorf("%w: the object has digest %s instead of %s", ErrDigestMismatch, got, want)
}

// clone makes the file share the data of another, if the filesystem can do that.
func (x *extractor) clone(fd int, object *os.File) bool {
	if x.noClone.Load() {
		return false
	}
	err := unix.IoctlFileClone(fd, int(object.Fd()))
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ENOTTY) {
		x.noClone.Store(true) // and so it will be for all others
	}
	return err == nil
}

// verifyWritten compares the data that is in the file now.
func (x *extractor) verifyWritten(ctx context.Context, fd int, n *Inode, verify bool) error {
	if !verify {
		return nil
	}
	opts := fsverity.FileOptions{Options: fsverity.Options{Algorithm: x.opts.algorithm(n.Digest)}, Jobs: 1}
	if n.Size >= largeFile {
		opts.Jobs = x.opts.Jobs
	}
	got, err := fsverity.File(ctx, fdReader(fd), int64(n.Size), opts)
	if err == nil && got != n.Digest {
		err = wrongDigest(n.Digest, got)
	}
	return err
}

// copy writes the object's bytes to the file and verifies them on the way.
func (x *extractor) copy(ctx context.Context, w *extractWorker, fd int, object io.Reader, n *Inode, verify bool) error {
	var hasher *fsverity.Hasher
	if verify {
		var err error
		if hasher, err = fsverity.NewHasher(fsverity.Options{Algorithm: x.opts.algorithm(n.Digest)}); err != nil {
			return err
		}
	}
	off := int64(0)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		got, err := io.ReadFull(object, w.data[:])
		data := w.data[:got]
		if uint64(off)+uint64(got) > n.Size {
			return wrongSize(n.Size, uint64(off)+uint64(got))
		}
		if hasher != nil {
			_, _ = hasher.Write(data) // never fails
		}
		if writeErr := writeSparse(fd, data, off); writeErr != nil {
			return writeErr
		}
		off += int64(got)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if uint64(off) != n.Size {
		return wrongSize(n.Size, uint64(off))
	}
	if hasher != nil {
		if got := hasher.Digest(); got != n.Digest {
			return wrongDigest(n.Digest, got)
		}
	}
	return unix.Ftruncate(fd, off) // there may be a hole at the end
}

// writeSparse writes data but for pieces of zeros. The file has nothing there yet.
func writeSparse(fd int, data []byte, off int64) error {
	for len(data) > 0 {
		piece := data[:min(holeSize, len(data))]
		if string(piece) != string(zeros[:len(piece)]) {
			if err := linux.WriteAt(fd, piece, off); err != nil {
				return err
			}
		}
		off += int64(len(piece))
		data = data[len(piece):]
	}
	return nil
}

// copyRanges lets the kernel copy the parts of an object that are no holes.
func (x *extractor) copyRanges(ctx context.Context, w *extractWorker, fd int, object *os.File, size int64) error {
	src := int(object.Fd())
	for off := int64(0); off < size; {
		start, err := unix.Seek(src, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole up to the end
		}
		end := size
		if err != nil {
			start = off // the filesystem does not tell
		} else if end, err = unix.Seek(src, start, unix.SEEK_HOLE); err != nil {
			return err
		}
		if err := copyRange(ctx, w, fd, src, start, min(end, size)); err != nil {
			return err
		}
		off = end
	}
	return unix.Ftruncate(fd, size)
}

// copyRange copies the bytes from one offset to another, in the kernel where it can do that
// between the two files.
func copyRange(ctx context.Context, w *extractWorker, dst, src int, off, end int64) error {
	const step = 64 << 20 // the call cannot be interrupted
	inKernel := true
	for off < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		var n int
		var err error
		if inKernel {
			from, to := off, off
			n, err = unix.CopyFileRange(src, &from, dst, &to, int(min(step, end-off)), 0)
			if err != nil || n == 0 {
				inKernel = false
				continue
			}
		} else {
			n, err = linux.ReadAt(src, w.data[:min(copyChunk, end-off)], off)
			if err == nil && n == 0 {
				err = wrongSize(uint64(end), uint64(off))
			}
			if err == nil {
				err = linux.WriteAt(dst, w.data[:n], off)
			}
			if err != nil {
				return err
			}
		}
		off += int64(n)
	}
	return nil
}
