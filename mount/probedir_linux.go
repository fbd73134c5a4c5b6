package mount

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/linux"
)

func directoryQuestions(dir *os.File) []question {
	// with hands an unnamed file in the directory to the attempt.
	with := func(attempt func(f *os.File) error) func() error {
		return func() error {
			f, err := temporary(procPath(dir))
			if err != nil {
				return fmt.Errorf("%w: %w", errCannotTry, err)
			}
			return errors.Join(attempt(f), f.Close())
		}
	}
	return []question{
		{
			CapVerity, "files here can have fs-verity: the kernel checks their bytes at every read",
			"Files here cannot have fs-verity: changed bytes are not noticed. If the kernel has it (see above): " +
				"ext4 can after tune2fs -O verity, btrfs can, xfs and tmpfs cannot.",
			func() error { return probeVerity(dir) },
		},
		{
			CapReflink, "copies here share their blocks until one is changed (reflink)",
			"Copies here take up space of their own (no reflink).",
			with(func(f *os.File) error {
				if _, err := f.Write(make([]byte, 1<<16)); err != nil {
					return err
				}
				to, err := temporary(procPath(dir))
				if err != nil {
					return err
				}
				return errors.Join(os.NewSyscallError("FICLONE", unix.IoctlFileClone(int(to.Fd()), int(f.Fd()))), to.Close())
			}),
		},
		{
			CapTmpfile, "files can be written here without a name (O_TMPFILE), so that none is left after a crash",
			"Files need a name while they are written here: after a crash one can be left.",
			func() error {
				err := closed(unnamed(procPath(dir)))
				if errors.Is(err, unix.EROFS) {
					err = fmt.Errorf("%w: %w", errCannotTry, err)
				}
				return err
			},
		},
		{
			CapTrustedXattr, "attributes trusted.* can be set here, as the upper directory of a mount needs them",
			"Attributes trusted.* cannot be set here: the directory is no good as upper directory of a mount.",
			with(func(f *os.File) error {
				return os.NewSyscallError("fsetxattr", unix.Fsetxattr(int(f.Fd()), "trusted.composefs.probe", []byte("y"), 0))
			}),
		},
	}
}

// probeVerity enables fs-verity of a file, or asks the directory if nothing can be written.
func probeVerity(dir *os.File) error {
	f, err := temporary(procPath(dir))
	if err != nil {
		reason, err := lacksVerity(dir)
		if err == nil && reason != "" {
			err = errors.New(reason)
		}
		return err
	}
	_, err = f.Write([]byte("probe"))
	// It can be enabled while nobody has the file open for writing.
	readable, openErr := os.Open(procPath(f))
	if err = errors.Join(err, openErr, f.Close()); err != nil {
		return fmt.Errorf("%w: %w", errCannotTry, err)
	}
	return errors.Join(linux.EnableVerity(readable, uint32(fsverity.HashSHA256), 4096, nil, nil), readable.Close())
}

// temporary returns a new file in the directory that has no name any more.
func temporary(dir string) (*os.File, error) {
	if f, err := unnamed(dir); err == nil {
		return f, nil
	}
	f, err := os.CreateTemp(dir, ".composefs.*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// unnamed returns a new file that never had a name.
func unnamed(dir string) (*os.File, error) {
	return os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR, 0o600)
}

// memoryImage is a small image on no filesystem that EROFS can mount directly from.
func memoryImage() (*os.File, error) {
	fd, err := unix.MemfdCreate("composefs-probe", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	image := os.NewFile(uintptr(fd), "composefs-probe")
	if _, err := image.WriteAt(probeImage(), 0); err != nil {
		return nil, errors.Join(err, image.Close())
	}
	return image, nil
}

// probeImage is the smallest image there is: one block with a superblock and, behind it, the
// root directory, which is empty. Field names are those of the kernel's erofs_fs.h.
func probeImage() []byte {
	const superblock, root = 1024, 1024 + 128
	b := make([]byte, loopBlockSize)
	le := binary.LittleEndian
	le.PutUint32(b, headerMagic)
	le.PutUint32(b[4:], headerVersion)

	sb := b[superblock:]
	le.PutUint32(sb, unix.EROFS_SUPER_MAGIC_V1)
	sb[12] = 12                    // blkszbits
	le.PutUint16(sb[14:], root/32) // root_nid
	le.PutUint64(sb[16:], 1)       // inos
	le.PutUint32(sb[36:], 1)       // blocks

	inode := b[root:]
	le.PutUint16(inode, 2<<1)         // i_format: compact, flat with inline tail
	le.PutUint16(inode[4:], 0o040755) // i_mode
	le.PutUint16(inode[6:], 2)        // i_nlink
	le.PutUint32(inode[8:], 2*12+1+2) // i_size: two entries and their names
	le.PutUint32(inode[20:], 1)       // i_ino

	for i, name := range []string{".", ".."} {
		entry := inode[32+12*i:]
		le.PutUint64(entry, root/32)          // nid
		le.PutUint16(entry[8:], uint16(24+i)) // nameoff
		entry[10] = 2                         // file_type: directory
		copy(inode[32+24+i:], name)
	}
	return b
}
