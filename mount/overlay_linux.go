package mount

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/linux"
)

// layers are what an overlay is made of, besides its upper directory.
type layers struct {
	image *os.File   // detached
	data  []*os.File // at least one: overlayfs wants two layers
	none  *os.File   // detached tmpfs that the only one of data lies in, if there are no objects
}

// mountOverlay puts the overlay on the detached image, by the best way that the kernel knows.
func (j *job) mountOverlay(image *os.File) (*os.File, error) {
	l := layers{image: image, data: j.Objects}
	if len(l.data) == 0 {
		mnt, dir, err := noObjects()
		if err != nil {
			return nil, j.kernelError("mount an empty object directory for image", err, nil)
		}
		defer mnt.Close()
		defer dir.Close()
		l.none, l.data = mnt, []*os.File{dir}
	}
	mnt, err := j.overlay(func(fs *os.File) error { return j.layersByFD(fs, l) })
	if !badLayers(err) {
		return mnt, err
	}
	// The error of the best way is the one to show if none works.
	mnt, nameErr := j.overlayByName(l)
	if badLayers(nameErr) {
		return nil, err
	}
	return mnt, nameErr
}

// badLayers says whether the kernel refused the overlay in a way that may come from how its
// layers were handed over: EBADF from kernels that want strings, EINVAL from those that do not
// know a key or cannot stack on detached mounts.
func badLayers(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBADF)
}

// overlay configures and mounts an overlay whose layers the function sets.
func (j *job) overlay(layers func(fs *os.File) error) (*os.File, error) {
	const doing = "mount overlay of image"
	fs, err := linux.FSOpen("overlay")
	if errors.Is(err, unix.ENODEV) {
		err = fmt.Errorf("this kernel has no overlayfs: %w: %w", errors.ErrUnsupported, err)
	}
	if err != nil {
		return nil, j.kernelError(doing, err, nil)
	}
	defer fs.Close()
	if err := j.configureOverlay(fs, layers); err != nil {
		return nil, j.kernelError(doing, err, fs)
	}
	mnt, err := linux.FSMount(fs, j.overlayAttrs())
	if err != nil {
		return nil, j.kernelError(doing, err, fs)
	}
	return mnt, nil
}

func (j *job) configureOverlay(fs *os.File, layers func(fs *os.File) error) error {
	if err := linux.FSConfigString(fs, "source", j.source); err != nil {
		return err
	}
	for _, option := range j.overlayOptions() {
		if err := linux.FSConfigString(fs, option.key, option.value); err != nil {
			return fmt.Errorf("option %s=%s: %w", option.key, option.value, err)
		}
	}
	if j.Volatile {
		if err := linux.FSConfigFlag(fs, "volatile"); err != nil {
			return fmt.Errorf("option volatile: %w", err)
		}
	}
	if err := layers(fs); err != nil {
		return err
	}
	if err := j.ways.step("create overlay"); err != nil {
		return err
	}
	return linux.FSConfigCreate(fs)
}

type overlayOption struct{ key, value string }

// overlayOptions are those of every overlay. Older kernels follow redirects and use data-only
// layers only if told; and metacopy keeps a change of metadata from copying data to the upper
// directory.
func (j *job) overlayOptions() []overlayOption {
	options := []overlayOption{{"metacopy", "on"}, {"redirect_dir", "on"}}
	if j.state.Verity == VerityRequire {
		options = append(options, overlayOption{"verity", "require"})
	}
	return options
}

func (j *job) overlayAttrs() int {
	attrs := 0
	for _, f := range []struct {
		set  bool
		attr int
	}{
		{j.ReadOnly, unix.MOUNT_ATTR_RDONLY},
		{j.Nosuid, unix.MOUNT_ATTR_NOSUID},
		{j.Nodev, unix.MOUNT_ATTR_NODEV},
		{j.Noexec, unix.MOUNT_ATTR_NOEXEC},
		{j.Noatime, unix.MOUNT_ATTR_NOATIME},
	} {
		if f.set {
			attrs |= f.attr
		}
	}
	return attrs
}

// layersByFD hands the layers over as descriptors: Linux 6.13, for detached mounts 6.15.
func (j *job) layersByFD(fs *os.File, l layers) error {
	if j.ways.noLayerFD {
		return unix.EBADF
	}
	if err := linux.FSConfigFile(fs, "lowerdir+", l.image); err != nil {
		return fmt.Errorf("image layer: %w", err)
	}
	for _, dir := range l.data {
		if err := linux.FSConfigFile(fs, "datadir+", dir); err != nil {
			return fmt.Errorf("object directory %s: %w", dir.Name(), err)
		}
	}
	if j.Upper == nil {
		return nil
	}
	if err := linux.FSConfigFile(fs, "upperdir", j.Upper); err != nil {
		return fmt.Errorf("upper directory %s: %w", j.Upper.Name(), err)
	}
	if err := linux.FSConfigFile(fs, "workdir", j.Work); err != nil {
		return fmt.Errorf("work directory %s: %w", j.Work.Name(), err)
	}
	return nil
}

// noObjectsName is what mountinfo shows for the object directory of an image without one.
const noObjectsName = "no-objects"

// noObjects returns an empty directory, and the detached tmpfs that it is in and needs.
func noObjects() (mnt, dir *os.File, err error) {
	fs, err := linux.FSOpen("tmpfs")
	if err != nil {
		return nil, nil, err
	}
	defer fs.Close()
	if err := linux.FSConfigCreate(fs); err != nil {
		return nil, nil, err
	}
	if mnt, err = linux.FSMount(fs, unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC); err != nil {
		return nil, nil, err
	}
	path := procPath(mnt) + "/" + noObjectsName
	if err = os.Mkdir(path, 0o555); err == nil {
		dir, err = os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, mnt.Close())
	}
	return mnt, dir, nil
}
