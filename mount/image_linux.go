package mount

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/linux"
)

// The hidden mount only gives names and attributes; what its devices and set-user-id programs
// may do is decided by the overlay's own flags.
const imageAttrs = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID

// mountImage mounts the image as EROFS, detached: straight from the file, or through a loop
// device where the kernel wants a block device (before 6.12, and for files of filesystems
// without a page cache of their own, such as tmpfs and overlayfs).
func (j *job) mountImage() (*os.File, error) {
	mnt, err := j.mountErofs(procPath(j.Image))
	if !errors.Is(err, unix.ENOTBLK) {
		return mnt, err
	}
	device, err := j.bindLoop()
	if err != nil {
		return nil, err
	}
	// The device frees itself with its last user: this descriptor, then the mount.
	defer device.Close()
	if mnt, err = j.mountErofs(device.Name()); err != nil {
		return nil, err
	}
	j.state.LoopDevice = device.Name()
	return mnt, nil
}

func (j *job) mountErofs(source string) (*os.File, error) {
	mnt, err := j.mountNew("mount image", "erofs", imageAttrs, func(fs *os.File) error {
		if j.ways.noFileBacked && source == procPath(j.Image) {
			return unix.ENOTBLK
		}
		if err := linux.FSConfigString(fs, "source", source); err != nil {
			return err
		}
		if err := linux.FSConfigFlag(fs, "ro"); err != nil {
			return err
		}
		// Without the flag no file has ACLs: looking for them would be in vain.
		if !j.header.acl {
			if err := linux.FSConfigFlag(fs, "noacl"); err != nil {
				return err
			}
		}
		return j.ways.step("create erofs")
	})
	if err != nil {
		return nil, err
	}
	if err := j.mapOwners(mnt); err != nil {
		return nil, errors.Join(err, mnt.Close())
	}
	return mnt, nil
}

// mapOwners makes the mount idmapped. The overlay takes its owners from here, and data
// layers' owners do not show, so this mount alone needs it.
func (j *job) mapOwners(mnt *os.File) error {
	if j.UserNS == nil {
		return nil
	}
	err := j.ways.step("idmap")
	if err == nil {
		err = linux.MountSetIDMap(mnt, j.UserNS)
	}
	if err != nil {
		return j.kernelError("map owners of image", err)
	}
	return nil
}

const (
	loopBlockSize = 4096 // that of every composefs image
	loopFlags     = unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR
	// loopTries bounds the race for free devices: whoever loses one asks for another.
	loopTries = 100
)

// bindLoop returns an open loop device that shows the image, read-only, and frees itself when
// nobody has it open any more.
func (j *job) bindLoop() (*os.File, error) {
	const doing = "set up a loop device for image"
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, j.kernelError(doing, err)
	}
	defer control.Close()
	for range loopTries {
		var device *os.File
		if device, err = j.tryLoop(control); err == nil {
			return device, nil
		}
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENXIO) {
			break
		}
	}
	return nil, j.kernelError(doing, err)
}

// tryLoop binds a device that is free, which another process may find free as well: EBUSY.
func (j *job) tryLoop(control *os.File) (*os.File, error) {
	path, err := linux.LoopGetFree(control)
	if err != nil {
		return nil, err
	}
	device, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	err = j.ways.step("configure loop")
	if err == nil {
		err = j.configureLoop(device)
	}
	if err != nil {
		return nil, errors.Join(err, device.Close())
	}
	return device, nil
}

func (j *job) configureLoop(device *os.File) error {
	if !j.ways.noConfigure {
		// The kernel leaves direct I/O out by itself where the file cannot do it.
		err := linux.LoopConfigure(device, j.Image, loopFlags|unix.LO_FLAGS_DIRECT_IO, loopBlockSize, j.name)
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTTY) {
			return err
		}
	}
	// Kernels before 5.8 take two steps.
	if err := linux.LoopSetFD(device, j.Image); err != nil {
		return err
	}
	if err := linux.LoopSetStatus(device, loopFlags, j.name); err != nil {
		return errors.Join(err, linux.LoopClear(device))
	}
	return nil
}
